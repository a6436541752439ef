"""What is computed on the device `sim`: the same as on the CPU, bit by bit, and nothing together with the CPU.

Each operation runs as a whole on the CPU, over the same bytes. Operations that torch takes apart into others are run
whole as well: taken apart for a device that it doesn't know, they would give other last bits (attention, layer
norms, convolutions). With operands on both devices it raises what CUDA raises.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch.utils import _pytree as pytree

from .relabelled import DEVICE_TYPE, on_host, on_sim, put, view, with_cpu_kernel

_aten = torch.ops.aten
_LIBRARIES: list[torch.library.Library] = []

# They read or write another device on purpose, or look at shapes only.
_MAY_MIX = frozenset({
    "copy_", "_copy_from", "_copy_from_and_resize", "_to_copy", "copy", "set_", "index", "index_put", "index_put_",
    "_index_put_impl_", "_unsafe_index", "_unsafe_index_put", "_pack_padded_sequence", "tensor_split", "is_same_size",
    "type_as", "expand_as", "result_type",
})  # fmt: skip
# The packed forms have the lengths of the sequences on the CPU.
_MAY_MIX_PACKED = frozenset({"lstm.data", "gru.data", "rnn_tanh.data", "rnn_relu.data"})
_AUTOGRAD = torch._C.DispatchKeySet(torch._C.DispatchKey.AutogradCPU) | torch._C.DispatchKeySet(
    torch._C.DispatchKey.ADInplaceOrView
)
# Views, for which the CPU's kernels need no bytes.
_VIEWS = frozenset({"as_strided", "view", "_reshape_alias", "unfold", "set_"})


def register_kernels() -> None:
    """Once in a process."""
    if _LIBRARIES:
        return
    fallback = torch.library.Library("_", "IMPL")
    for key in ("PrivateUse1", "SparsePrivateUse1", "SparseCsrPrivateUse1", "QuantizedPrivateUse1"):
        fallback.fallback(_run, key)
    whole = torch.library.Library("aten", "IMPL")
    for op in _taken_apart_elsewhere():
        whole.impl(op, _bound(op), "PrivateUse1", with_keyset=False)
    _LIBRARIES.extend((fallback, whole))


def _bound(op: Any) -> Any:
    return lambda *args, **kwargs: _run(op, *args, **kwargs)


def _taken_apart_elsewhere() -> Iterator[Any]:
    """Operations without a kernel per device that make something new, and `copy_`."""
    names = set[str]()
    for key in ("CompositeImplicitAutograd", "CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional"):
        names.update(torch._C._dispatch_get_registrations_for_dispatch_key(key))
    for name in sorted(names):
        namespace, _, rest = name.partition("::")
        base, _, overload = rest.partition(".")
        if namespace == "aten" and hasattr(_aten, base):
            op = getattr(getattr(_aten, base), overload or "default", None)
            if op is not None and (base == "copy_" or _makes_something_new(op)):
                yield op


def _makes_something_new(op: Any) -> bool:
    takes = [str(argument.type) for argument in op._schema.arguments]
    gives = [str(value.type) for value in op._schema.returns]
    return (
        _has_no_alias(op)
        and any("Tensor" in kind for kind in takes)
        and any("Tensor" in kind for kind in gives)
        and not any("Device" in kind for kind in takes)
        and op._schema.name[6:] not in _MAY_MIX
    )


def _has_no_alias(op: Any) -> bool:
    return all(value.alias_info is None for value in (*op._schema.arguments, *op._schema.returns))


def _run(op: Any, *args: Any, **kwargs: Any) -> Any:
    base = op._schema.name.partition("::")[2]
    if base in _VIEWS:
        return with_cpu_kernel(op, *args, **kwargs)
    leaves, spec = pytree.tree_flatten((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    if base not in _MAY_MIX and f"{base}.{op._schema.overload_name}" not in _MAY_MIX_PACKED:
        refuse_to_mix(tensors, base)
    call = _Call(leaves, any(_is_sim(tensor) for tensor in tensors))
    twins, named = pytree.tree_unflatten(call.leaves, spec)
    with _as_called_by_a_user() if torch.is_grad_enabled() and _has_no_alias(op) else nullcontext():
        made = _call(op, base, twins, named)
    return pytree.tree_map_only(torch.Tensor, call.result, made)


def _as_called_by_a_user() -> Any:
    """With autograd switched on: torch chooses some kernels by whether gradients are kept."""
    excluded = torch._C._dispatch_tls_local_exclude_set() - _AUTOGRAD
    return torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), excluded)


def _call(op: Any, base: str, args: Any, kwargs: Any) -> Any:
    if base in ("_copy_from", "_copy_from_and_resize"):
        source, target = args[0], args[1]
        if base == "_copy_from_and_resize":
            target.resize_(source.shape)
        return target.copy_(source)
    if base == "convolution_overrideable":  # what torch takes for a device that it doesn't know
        return _aten.convolution.default(*args, **kwargs)
    if base == "convolution_backward_overrideable":
        grad, x, weight, *rest, mask = args
        return _aten.convolution_backward.default(grad, x, weight, [weight.shape[0]], *rest, mask)
    numbers = any(
        isinstance(value, int | float | complex) and str(argument.type) == "Tensor"
        for argument, value in zip(op._schema.arguments, args, strict=False)
    )
    if numbers and not torch._C._should_allow_numbers_as_tensors(base):  # type: ignore[attr-defined]
        return op.overloadpacket(*args, **kwargs)
    return op(*args, **kwargs)


def refuse_to_mix(tensors: list[torch.Tensor], operation: str) -> None:
    """Raises as CUDA does. A number in a tensor without dimensions may come from the CPU."""
    if not any(_is_sim(tensor) for tensor in tensors):
        return
    for tensor in tensors:
        # Tensors of other kinds can't be on `sim`; see `StrictSimDevice.send`.
        plain = tensor.layout is torch.strided and not tensor.is_quantized
        if tensor.device.type == "cpu" and tensor.dim() > 0 and plain:
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{DEVICE_TYPE}:0 and cpu! (in {operation})"
            )


def _is_sim(tensor: torch.Tensor) -> bool:
    return tensor.device.type == DEVICE_TYPE


class _Call:
    """The operands of one operation as the CPU sees them, and the way back for its results.

    An operand that comes twice has one twin: attention asks whether query and key are the same tensor.
    """

    def __init__(self, leaves: list[Any], to_sim: bool) -> None:
        self._to_sim = to_sim
        # By the address of torch's own object: the storage on `sim` of each host storage, and the other way round.
        self._sim: dict[int, torch.UntypedStorage] = {}
        self._host: dict[int, torch.UntypedStorage] = {}
        # By id: the operand and its twin.
        self._twins: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.leaves = [self._leaf(leaf) for leaf in leaves]
        self._originals = {id(twin): original for original, twin in self._twins.values()}

    def _leaf(self, leaf: Any) -> Any:
        if isinstance(leaf, torch.device):
            self._to_sim = leaf.type == DEVICE_TYPE
            return torch.device("cpu") if self._to_sim else leaf
        if not isinstance(leaf, torch.Tensor) or not _is_sim(leaf) or leaf.layout is not torch.strided:
            return leaf
        if id(leaf) not in self._twins:
            self._twins[id(leaf)] = (leaf, self._twin(leaf))
        return self._twins[id(leaf)][1]

    def _twin(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        host = self._host.get(storage._cdata)
        if host is None:
            host = self._host[storage._cdata] = on_host(storage)
            self._sim[host._cdata] = storage
        twin = view(host, tensor.dtype, tensor.storage_offset(), tensor.shape, tensor.stride())
        # `matmul` chooses by it how it folds its operands.
        return twin.requires_grad_(tensor.requires_grad)

    def result(self, made: torch.Tensor) -> torch.Tensor:
        original, host = self._originals.get(id(made)), made.untyped_storage()
        storage = self._sim.get(host._cdata)
        if original is None and storage is None and not (self._to_sim and made.device.type == "cpu"):
            return made
        changed = storage is None
        storage = storage if storage is not None else on_sim(host)
        if original is None:
            return view(storage, made.dtype, made.storage_offset(), made.shape, made.stride())
        if changed or made.shape != original.shape:  # resized
            put(original, storage, made.storage_offset(), made.shape, made.stride())
        return original
