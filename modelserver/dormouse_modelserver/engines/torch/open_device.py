"""From a device's name to the device: `auto`, `cuda:0`, `sim`, `sim:4GiB`, `sim:4GiB@/path`, `sim-strict:4GiB`."""

import re

import torch

from ...errors import ConfigurationError
from .device import DeviceBackend
from .sim.device import DEFAULT_CAPACITY_BYTES, SimDevice

_UNITS = {
    "": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}
_SIM = re.compile(r"sim(?P<strict>-strict)?(?::(?P<number>\d+(?:\.\d+)?)(?P<unit>[A-Za-z]*))?(?:@(?P<path>/.+))?")
_CHOICES = (
    "write 'auto', 'cuda:0', 'sim', 'sim:4GiB', 'sim:4GiB@/path' to share one between processes, or 'sim-strict', "
    "which refuses to mix with the CPU as a GPU does"
)


def open_device(name: str) -> DeviceBackend:
    """Raises `ConfigurationError` that names the choices. `auto` never chooses the simulated device."""
    if name == "auto":
        if not torch.cuda.is_available():
            raise ConfigurationError(
                "device 'auto': torch sees no CUDA device. Choose one by name: 'cuda:0', or 'sim' "
                "('sim:4GiB') for a simulated one without a GPU"
            )
        name = f"cuda:{torch.cuda.current_device()}"
    if re.fullmatch(r"cuda(:\d+)?", name):
        # pynvml and the CUDA calls are needed only here; `sim` runs without a driver.
        from .cuda.device import CudaDevice

        return CudaDevice(name)
    match = _SIM.fullmatch(name)
    if match is None:
        raise ConfigurationError(f"device {name!r} is not known; {_CHOICES}")
    kind = _strict() if match["strict"] else SimDevice
    if match["number"] is None:
        return kind(name, DEFAULT_CAPACITY_BYTES, match["path"])
    if match["unit"] not in _UNITS:
        raise ConfigurationError(
            f"device {name!r}: unit {match['unit']!r} is not known; write for example 4GiB or 800MiB"
        )
    capacity = int(float(match["number"]) * _UNITS[match["unit"]])
    if capacity <= 0:
        raise ConfigurationError(f"device {name!r} has no room at all; write for example sim:4GiB")
    return kind(name, capacity, match["path"])


def _strict() -> type[SimDevice]:
    # It makes itself known to torch, for good: only where it was asked for.
    from .sim.strict.device import StrictSimDevice

    return StrictSimDevice
