"""The image can't be built everywhere, so what can be told from its text is held to the code here."""

import re
import tomllib

from .pages import DOCS
from .test_settings_reference import flags, serve

ROOT = DOCS.parent
TEXT = (ROOT / "images" / "standalone" / "Containerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_what_is_copied_is_there_and_is_all_that_the_wheel_needs() -> None:
    copied = {word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", TEXT, re.MULTILINE) for word in line.split()}
    assert all((ROOT / path).exists() for path in copied), copied
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {path.split("/")[0] for path in packages} <= copied
    assert PROJECT["project"]["readme"] in copied
    assert set(PROJECT["project"]["license-files"]) <= copied


def test_its_extras_exist_and_both_steps_install_the_same() -> None:
    steps = re.findall(r"^RUN uv sync (.+)$", TEXT, re.MULTILINE)
    extras = [re.findall(r"--extra (\S+)", step) for step in steps]
    assert len(steps) == 2
    assert extras[0] == extras[1]
    assert set(extras[0]) <= set(PROJECT["project"]["optional-dependencies"])
    assert all("--frozen" in step for step in steps), "the lock file decides"


def test_it_runs_as_a_user_without_rights_on_the_documented_port() -> None:
    user = re.findall(r"^USER (\d+):(\d+)$", TEXT, re.MULTILINE)[-1]
    assert all(int(number) > 0 for number in user)
    port = next(help_ for flag, help_ in flags(serve()) if flag == "--port")
    exposed = re.findall(r"^EXPOSE (\d+)$", TEXT, re.MULTILINE)
    assert len(exposed) == 1
    assert f"default {exposed[0]};" in port


def test_it_uses_the_uv_that_the_checkout_uses() -> None:
    pinned = re.search(r"^version=(\S+)$", (ROOT / "scripts" / "uv").read_text(), re.MULTILINE)
    assert pinned is not None
    for text in (TEXT, (DOCS / "standalone.md").read_text()):
        assert set(re.findall(r"astral-sh/uv:([\d.]+)", text)) == {pinned[1]}


def test_the_options_of_its_entry_point_exist() -> None:
    (entry,) = re.findall(r"^ENTRYPOINT (.+)$", TEXT, re.MULTILINE)
    assert set(re.findall(r"--[a-z-]+", entry)) <= {flag for flag, _ in flags(serve())}
