"""The CUDA driver's own API, called so that a failure can't go unnoticed.

torch has no virtual memory management, so addresses are reserved and mapped through `cuda.bindings`. Its
functions return their result code beside the value; here a code becomes an exception that names the call.
The module is passed in, so tests inject one that fails where they want it to.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ....errors import ConfigurationError, CopyFailed


class DriverRefused(CopyFailed):
    """A call that failed. out_of_memory: for want of memory, so another one asleep would help."""

    def __init__(self, device: str, function: str, error: str) -> None:
        super().__init__(
            f"{device}: the CUDA driver refused {function} ({error}); no weights were changed. "
            "Ask again; if it goes on, restart the process"
        )
        self.out_of_memory = error == "CUDA_ERROR_OUT_OF_MEMORY"


def load_driver() -> Any:
    """The module `cuda.bindings.driver`; it has no types of its own. Raises `ConfigurationError`."""
    try:
        return importlib.import_module("cuda.bindings.driver")
    except ImportError as missing:
        raise ConfigurationError(
            "stable addresses need the Python bindings of the CUDA driver, and they are not installed: "
            "`pip install cuda-bindings` in the major version of torch.version.cuda, or register the model "
            "without stable_addresses"
        ) from missing


class CudaDriver:
    """One device of the driver's. ordinal: counted as torch counts, after CUDA_VISIBLE_DEVICES."""

    def __init__(self, module: Any, device: str, ordinal: int) -> None:
        self.api, self.device, self.ordinal = module, device, ordinal
        self.call("cuInit", 0)
        handle = self.call("cuDeviceGet", ordinal)
        supported = module.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED
        if not self.call("cuDeviceGetAttribute", supported, handle):
            raise ConfigurationError(
                f"{device} can't map memory at reserved addresses (some virtual GPUs can't); "
                "register the model without stable_addresses"
            )
        # The context that torch works in, retained for the life of the process as torch does.
        self._context = self.call("cuDevicePrimaryCtxRetain", handle)

    def call(self, function: str, *arguments: Any) -> Any:
        """The call's value, or None where it has none. Raises `DriverRefused`."""
        result, *values = getattr(self.api, function)(*arguments)
        if result != self.api.CUresult.CUDA_SUCCESS:
            raise DriverRefused(self.device, function, result.name)
        return values[0] if values else None

    @contextmanager
    def current(self) -> Iterator[None]:
        """Work in torch's context: a fresh thread has none, and torch sets it only when it must."""
        self.call("cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            self.call("cuCtxPopCurrent")
