"""A device is chosen by name, and a name that can't be is refused with the choices."""

from pathlib import Path

import pytest
import torch
from dormouse_modelserver import ConfigurationError
from dormouse_modelserver.engines.torch.open_device import open_device
from dormouse_modelserver.engines.torch.sim.device import DEFAULT_CAPACITY_BYTES


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("sim", DEFAULT_CAPACITY_BYTES),
        ("sim:4GiB", 4 << 30),
        ("sim:0.5GiB", 1 << 29),
        ("sim:800MiB", 800 << 20),
        ("sim:1KB", 1000),
        ("sim:12345", 12345),
        ("sim:1TiB", 1 << 40),
        ("sim-strict", DEFAULT_CAPACITY_BYTES),
        ("sim-strict:4GiB", 4 << 30),
    ],
)
def test_a_simulated_device_has_the_size_of_its_name(name: str, total: int) -> None:
    device = open_device(name)
    assert (device.name, device.simulated, device.memory().total, device.memory().used) == (name, True, total, 0)


def test_a_shared_one_names_its_file(tmp_path: Path) -> None:
    device = open_device(f"sim:1MiB@{tmp_path}/some where/gpu@0")
    assert device.gpu_uuid == f"sim@{tmp_path}/some where/gpu@0"
    assert device.memory().total == 1 << 20


@pytest.mark.parametrize(
    "name",
    [
        "", "gpu", "cpu", "SIM", "sim:", "sim:GiB", "sim:-1GiB", "sim:4GiB@", "sim:4GiB@relative", "sim:4 GiB", "simx",
        "cuda:", "cuda:x", "cuda:-1", "sim:4gib", "sim:4XB", "sim:0", "sim:0.1", "sim:nan",
        "sim-strict:", "sim-lax", "strict",
    ],
)  # fmt: skip
def test_a_name_that_means_nothing_is_refused_with_what_to_write(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"sim:4GiB|4GiB or 800MiB"):
        open_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_without_a_gpu_nothing_falls_back_to_the_simulated_device(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no CUDA device.*'sim'"):
        open_device(name)
