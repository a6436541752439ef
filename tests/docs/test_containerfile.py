"""Images can't be built everywhere, so what can be told from their text is held to the code here."""

import re
import tomllib

import pytest

from images import IMAGES

from .pages import DOCS
from .test_settings_reference import flags, serve

ROOT = DOCS.parent
ALL = {path.parent.name: path.read_text() for path in sorted((ROOT / "images").glob("*/Containerfile"))}
TEXT = ALL["standalone"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_there_is_one_for_each_image_of_the_catalogue() -> None:
    assert set(ALL) == set(IMAGES)


@pytest.mark.parametrize("name", ["console", "operator", "sidecar", "standalone"])
def test_what_is_copied_is_there_and_is_all_that_the_wheel_needs(name: str) -> None:
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", ALL[name], re.MULTILINE)
    copied = {word for line in lines for word in line.split()}
    assert all((ROOT / path).exists() for path in copied), copied
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {path.split("/")[0] for path in packages} <= copied
    assert PROJECT["project"]["readme"] in copied
    assert set(PROJECT["project"]["license-files"]) <= copied
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{path}" for path in copied} <= set(ignored), "what the builder is not given can't be copied"


@pytest.mark.parametrize("name", sorted(ALL))
def test_the_lock_file_decides_and_the_bill_of_materials_names_the_same(name: str) -> None:
    text = ALL[name].replace("\\\n", " ")
    (installed,) = re.findall(r"uv sync ([^&\n]+)", text)
    (listed,) = re.findall(r"uv export ([^&\n]+)", text)
    chosen = [re.findall(r"--(?:extra|group) (\S+)", words) for words in (installed, listed)]
    assert chosen[0] == chosen[1] != []
    assert "--frozen" in installed
    assert "--frozen" in listed
    known = {**PROJECT["project"]["optional-dependencies"], **PROJECT["dependency-groups"]}
    assert set(chosen[0]) <= set(known)


@pytest.mark.parametrize("name", sorted(ALL))
def test_each_runs_as_a_numbered_user_without_rights(name: str) -> None:
    user = re.findall(r"^USER (\d+):(\d+)$", ALL[name], re.MULTILINE)[-1]
    assert all(int(number) > 0 for number in user)
    assert ALL[name].rindex("USER ") == ALL[name].rindex("USER 10001:10001")


@pytest.mark.parametrize("name", sorted(ALL))
def test_each_says_what_it_is(name: str) -> None:
    assert f'org.opencontainers.image.title="dormouse-{name}"' in ALL[name]


def test_the_documented_port_is_exposed() -> None:
    port = next(help_ for flag, help_ in flags(serve()) if flag == "--port")
    exposed = re.findall(r"^EXPOSE (\d+)$", TEXT, re.MULTILINE)
    assert len(exposed) == 1
    assert f"default {exposed[0]};" in port


def test_it_uses_the_uv_that_the_checkout_uses() -> None:
    pinned = re.search(r"^version=(\S+)$", (ROOT / "scripts" / "uv").read_text(), re.MULTILINE)
    assert pinned is not None
    named = {found for text in ALL.values() for found in re.findall(r"astral-sh/uv:([\d.]+)", text)}
    assert named == {pinned[1]}


def test_the_options_of_its_entry_point_exist() -> None:
    (entry,) = re.findall(r"^ENTRYPOINT (.+)$", TEXT, re.MULTILINE)
    assert set(re.findall(r"--[a-z-]+", entry)) <= {flag for flag, _ in flags(serve())}
