"""Where a binary is taken from, with fakes that say what they are."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from localcluster import binaries
from localcluster.progress import Progress
from localcluster.recipes import RECIPES, Recipe, parse_version

Fake = Callable[[str, str, str], Path]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """`fake(place, name, says)` puts a binary in one of three places; nothing real is found."""
    places = {
        "assets": tmp_path / "assets",
        "path": tmp_path / "path",
        "cache": tmp_path / "cache" / "bin" / RECIPES["kubectl"].version,
    }
    for place in places.values():
        place.mkdir(parents=True)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(places["assets"]))
    monkeypatch.setenv("DORMOUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{places['path']}:/usr/bin:/bin")

    def put(place: str, name: str, says: str) -> Path:
        file = places[place] / name
        file.write_text(f"#!/bin/sh\n{says}\n")
        file.chmod(0o755)
        return file

    return put


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Instead of building, note why it would have been."""
    reasons: list[str] = []

    def build_into(target: Path, recipe: Recipe, why: str, progress: Progress) -> Path:
        reasons.append(why)
        return target

    monkeypatch.setattr(binaries, "build_into", build_into)
    return reasons


FITS = "echo Client Version: v1.34.9"
TOO_OLD = "echo Client Version: v1.32.4"


def test_the_assets_come_first(fake: Fake, built: list[str]) -> None:
    wanted = fake("assets", "kubectl", FITS)
    fake("cache", "kubectl", FITS)
    fake("path", "kubectl", FITS)
    assert binaries.binary("kubectl") == wanted


def test_then_the_cache(fake: Fake, built: list[str]) -> None:
    wanted = fake("cache", "kubectl", FITS)
    fake("path", "kubectl", FITS)
    assert binaries.binary("kubectl") == wanted


def test_then_the_path(fake: Fake, built: list[str]) -> None:
    wanted = fake("path", "kubectl", FITS)
    assert binaries.binary("kubectl") == wanted
    assert built == []


def test_then_it_is_built(fake: Fake, built: list[str], tmp_path: Path) -> None:
    fake("path", "kubectl", TOO_OLD)
    target = binaries.binary("kubectl")
    assert target == tmp_path / "cache" / "bin" / RECIPES["kubectl"].version / "kubectl"
    assert built == [f"{tmp_path}/path/kubectl is 1.32.4"]


@pytest.mark.parametrize(
    ("says", "noted"),
    [
        pytest.param(TOO_OLD, "is 1.32.4", id="too old"),
        pytest.param("echo Client Version: v1.35.0", "is 1.35.0", id="too new"),
        pytest.param("exit 1", "does not say its version", id="fails"),
        pytest.param("echo hello", "does not say its version", id="says something else"),
    ],
)
def test_a_foreign_one_has_to_prove_itself(fake: Fake, built: list[str], says: str, noted: str) -> None:
    fake("assets", "kubectl", says)
    fake("path", "kubectl", says)
    binaries.binary("kubectl")
    assert built[0].count(noted) == 2


@pytest.mark.parametrize(
    ("name", "found", "accepted"),
    [
        pytest.param("etcd", "etcd Version: 3.6.1", True, id="etcd of the same minor"),
        pytest.param("etcd", "etcd Version: 3.5.21", False, id="etcd of another minor"),
        pytest.param("kube-apiserver", "Kubernetes v1.34.0", True, id="API server of the same minor"),
        pytest.param("kube-apiserver", "Kubernetes v1.33.4", False, id="API server of another minor"),
        pytest.param("prometheus", "prometheus, version 3.9.0 (branch: HEAD)", True, id="newer Prometheus"),
        pytest.param("prometheus", "prometheus, version 3.5.0 (branch: HEAD)", False, id="older Prometheus"),
        pytest.param("promtool", "promtool, version 4.0.0 (branch: HEAD)", False, id="next major promtool"),
    ],
)
def test_which_versions_fit(name: str, found: str, accepted: bool) -> None:
    version = parse_version(found)
    assert version is not None
    assert RECIPES[name].accepts(version) is accepted


def test_what_the_machine_has_really_answers() -> None:
    """The real ones, as every other test uses them: each runs and is what its recipe says."""
    from localcluster.versions import version_of

    for name, path in binaries.ensure_binaries(progress=Progress(io.StringIO())).items():
        found = version_of(path, RECIPES[name])
        assert found is not None
        assert RECIPES[name].accepts(found)
