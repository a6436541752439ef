"""Which builder is taken, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from images import IMAGES, ImageUnavailable, find_builder


def program(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_a_client_without_its_daemon_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    program(tmp_path, "buildah", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert find_builder().name == "buildah"


def test_without_a_builder_it_says_what_was_found_and_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageUnavailable, match=r"Cannot connect to the Docker daemon.*apt-get install"):
        find_builder()


def test_with_nothing_at_all_it_names_the_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageUnavailable, match="none of docker, podman, buildah is installed"):
        find_builder()


def test_a_failed_build_shows_the_builders_own_last_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "podman", '[ "$1" = info ] || { echo "no space left on device"; exit 3; }')
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    builder = find_builder()
    with pytest.raises(ImageUnavailable, match="no space left on device"):
        builder.build(IMAGES["sidecar"].containerfile, "sidecar", arguments={}, log=tmp_path / "log")


def test_an_image_comes_after_the_one_that_it_stands_on() -> None:
    names = list(IMAGES)
    assert all(names.index(image.on) < names.index(name) for name, image in IMAGES.items() if image.on)
    assert all(image.containerfile.is_file() for image in IMAGES.values())
