"""What is in the folder: enough for a machine without a network, and not too much to carry."""

import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.gpu.kit.__main__ import BESIDE, MOST_BYTES, cache_folder, main, make_kit
from benchmarks.gpu.kit.wheels import KitFailed, check_complete, locked

ROOT = Path(__file__).parents[2]


def names(kit: Path) -> set[str]:
    return {wheel.name.partition("-")[0] for wheel in (kit / "wheels").iterdir()}


def test_it_is_small_enough_to_carry(kit: Path) -> None:
    assert MOST_BYTES == 48 << 20
    assert sum(file.stat().st_size for file in kit.rglob("*") if file.is_file()) <= MOST_BYTES


def test_it_has_the_product_what_it_needs_and_nothing_that_comes_with_torch(kit: Path) -> None:
    assert names(kit) >= {"dormouse", "fastapi", "pydantic", "pydantic_core", "uvicorn", "cronsim", "tzdata", "pip"}
    assert names(kit) & {"torch", "numpy", "triton", "sympy", "setuptools"} == set()
    assert not [name for name in names(kit) if name.startswith("nvidia_") and name != "nvidia_ml_py"]


def test_compiled_wheels_are_of_the_machine_that_it_is_for(kit: Path) -> None:
    for wheel in (kit / "wheels").iterdir():
        _, python, abi, platform = wheel.stem.rsplit("-", 3)
        assert platform == "any" or ("x86_64" in platform and (python == "cp312" or abi == "abi3")), wheel.name


def test_the_versions_are_those_of_the_lock_file(kit: Path) -> None:
    pinned = [line.split(" ")[0].split("==") for line in locked(ROOT).splitlines() if "==" in line]
    assert len(pinned) > 15
    for name, version in pinned:
        assert list((kit / "wheels").glob(f"{name.replace('-', '_')}-{version}-*.whl")), f"{name} {version}"


def test_the_code_in_it_is_what_the_checks_import_and_no_more(kit: Path) -> None:
    files = {file.relative_to(kit / "code").as_posix() for file in (kit / "code").rglob("*") if file.is_file()}
    assert "benchmarks/gpu/checks/speed.py" in files
    assert "tests/modelserver/zoo.py" in files
    assert all(file.endswith(".py") for file in files)
    assert not [file for file in files if file.startswith(("benchmarks/gpu/kit", "benchmarks/operator"))]


@pytest.mark.parametrize("lacking", ["pydantic_core", "cronsim", "typing_inspection", "torchao"])
def test_a_kit_that_lacks_a_wheel_is_not_made(kit: Path, lacking: str, tmp_path: Path) -> None:
    wheels = shutil.copytree(kit / "wheels", tmp_path / "wheels")
    check_complete(wheels, BESIDE)
    next(wheels.glob(f"{lacking}-*.whl")).unlink()
    with pytest.raises(KitFailed, match=lacking.replace("_", "[-_]")):
        check_complete(wheels, BESIDE)


def test_a_kit_that_is_too_large_is_not_made_and_the_one_before_stays(tmp_path: Path) -> None:
    folder = tmp_path / "gpu-kit"
    folder.mkdir()
    (folder / "before").touch()
    with pytest.raises(KitFailed, match=r"the kit has \d+\.\d MiB, and 1\.0 MiB is the most .* torchao"):
        make_kit(folder, cache_folder(), most_bytes=1 << 20)
    assert [file.name for file in folder.iterdir()] == ["before"]
    assert [file.name for file in tmp_path.iterdir()] == ["gpu-kit"]


def test_made_again_it_takes_the_place_of_the_one_before_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "gpu-kit"
    folder.mkdir()
    (folder / "before").touch()
    assert main([str(folder)]) == 0
    assert not (folder / "before").exists()
    said = capsys.readouterr().out
    assert f"{folder}: " in said
    assert " MiB" in said
    assert "bash gpu-kit/run" in said
    assert "make gpu-page GPU_JSON=" in said


@pytest.mark.parametrize("python", ["/usr/bin/env", "/no/such/python3"])
def test_a_python_that_is_none_gets_a_sentence(kit: Path, python: str) -> None:
    done = subprocess.run(
        ["bash", str(kit / "run")],
        env={"PYTHON": python, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 69
    assert f"error: {python} is no Python 3.11 or newer" in done.stderr
    assert "PYTHON=/path/to/python3 bash run" in done.stderr
