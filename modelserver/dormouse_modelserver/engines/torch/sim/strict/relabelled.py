"""Tensors of the torch device `sim`: their bytes are host RAM, and torch takes them for those of another device.

A storage changes its label, not its bytes, on its way through DLPack: the capsule says which device the memory is on,
and torch believes it. Either storage keeps the other alive, so nothing has to be remembered of them.
"""

import ctypes
from types import SimpleNamespace
from typing import Any

import torch

from .....errors import ConfigurationError
from .device_type import DEVICE_TYPE
from .generators import Generator

# The numbers that DLPack gives to devices; the second is that of a device which torch knows by its plug-in only.
_DLPACK_CPU, _DLPACK_EXTENSION = 1, 12
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype, _capsule_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
# Kernels for the CPU that look at sizes and strides only, and so do for any device.
_CPU_KERNELS = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)

_set = torch.ops.aten.set_.source_Storage_storage_offset


def register_device() -> torch.device:
    """Make `sim` a device of torch's in this process, for good. Raises `ConfigurationError` where that can't be."""
    name = torch._C._get_privateuse1_backend_name()
    if name == DEVICE_TYPE:
        return torch.device(DEVICE_TYPE, 0)
    try:
        from torch.utils.backend_registration import _setup_privateuseone_for_python_backend as set_up
    except ImportError:
        raise ConfigurationError(
            f"device 'sim-strict' needs a newer torch than {torch.__version__}; use 'sim'"
        ) from None
    if name != "privateuseone":
        raise ConfigurationError(
            f"device 'sim-strict': this process has the device {name!r}, and torch allows one more"
        )
    set_up(DEVICE_TYPE, backend_module=_module())
    _copy_storages_by_hand()
    torch.Generator = Generator  # type: ignore[misc]
    return torch.device(DEVICE_TYPE, 0)


def on_sim(host: torch.UntypedStorage) -> torch.UntypedStorage:
    """The same bytes of host RAM, on the device `sim`."""
    storage = _relabelled(view(host, torch.uint8, 0, (host.nbytes(),), (1,)), _DLPACK_EXTENSION)
    storage._dormouse_host = host  # type: ignore[attr-defined]
    return storage


def on_host(storage: torch.UntypedStorage) -> torch.UntypedStorage:
    """The bytes of a storage of `sim` as what they are."""
    host: torch.UntypedStorage | None = getattr(storage, "_dormouse_host", None)
    if host is None:
        host = _relabelled(view(storage, torch.uint8, 0, (storage.nbytes(),), (1,)), _DLPACK_CPU)
    return host


def view(storage: torch.UntypedStorage, dtype: torch.dtype, offset: Any, size: Any, stride: Any) -> torch.Tensor:
    """A tensor over a storage of either device; offset and strides in elements."""
    if storage.device.type == "cpu":
        tensor = torch.empty(0, dtype=dtype)
    else:
        tensor = torch._C._acc.create_empty_tensor((0,), dtype)
    return put(tensor, storage, offset, size, stride)


def put(tensor: torch.Tensor, storage: torch.UntypedStorage, offset: Any, size: Any, stride: Any) -> torch.Tensor:
    """Make `tensor` a view of `storage`, which is on the same device."""
    _set.redispatch(_CPU_KERNELS, tensor, storage, offset, size, stride)
    return tensor


def with_cpu_kernel(op: Any, *args: Any, **kwargs: Any) -> Any:
    """For what only makes views: the CPU's kernel on tensors of `sim` as they are."""
    return op.redispatch(_CPU_KERNELS, *args, **kwargs)


def _copy_storages_by_hand() -> None:
    """`copy.deepcopy` of a tensor asks for a storage on the device, and torch has no allocator for one: it crashes."""
    base = torch.storage._StorageBase
    of_torch: Any = base.clone

    def clone(storage: Any) -> Any:
        return on_sim(of_torch(on_host(storage))) if storage.device.type == DEVICE_TYPE else of_torch(storage)

    base.clone = clone  # type: ignore[method-assign]


def _relabelled(flat: torch.Tensor, kind: int) -> torch.UntypedStorage:
    capsule = torch._C._to_dlpack(flat)
    # struct DLTensor { void *data; struct { int32_t device_type, device_id; }; … }
    device = (ctypes.c_int32 * 2).from_address(_capsule_pointer(capsule, b"dltensor") + 8)
    device[0], device[1] = kind, 0
    return torch._C._from_dlpack(capsule).untyped_storage()


def _module() -> SimpleNamespace:
    """What `torch.sim` has, for libraries that ask the module of a tensor's device to do something."""

    def nothing(*args: Any, **kwargs: Any) -> None:
        pass

    return SimpleNamespace(
        # Chosen by name only: who asks for "the" accelerator is not given this one.
        is_available=lambda: False,
        is_initialized=lambda: True,
        current_device=lambda: 0,
        device_count=lambda: 1,
        synchronize=nothing,
        empty_cache=nothing,
        manual_seed=nothing,
        manual_seed_all=nothing,
        _is_in_bad_fork=lambda: False,
        get_amp_supported_dtype=lambda: [torch.bfloat16, torch.float16],
        get_rng_state=lambda device=0: torch.get_rng_state(),
        set_rng_state=lambda state, device=0: torch.set_rng_state(state),
    )
