"""What is computed on the device `sim`: the same as on the CPU, bit by bit, and nothing together with the CPU.

Each operation runs as a whole on the CPU, over the same bytes. Operations that torch takes apart into others are run
whole as well: taken apart for a device that it doesn't know, they would give other last bits (attention, layer
norms, convolutions). With operands on both devices it raises what CUDA raises.
"""

import functools
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from .device_type import DEVICE_TYPE
from .relabelled import on_host, on_sim, put, view, with_cpu_kernel

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
# Their indices may come from the CPU, their values may not.
_PUT = frozenset({"index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"})
_AUTOGRAD = torch._C.DispatchKeySet(torch._C.DispatchKey.AutogradCPU) | torch._C.DispatchKeySet(
    torch._C.DispatchKey.ADInplaceOrView
)
# Views, for which the CPU's kernels need no bytes.
_VIEWS = frozenset({"as_strided", "view", "_reshape_alias", "unfold", "set_"})


def register_kernels() -> None:
    """Once in a process."""
    if _LIBRARIES:
        return
    fallback = torch.library.Library("_", "IMPL")  # type: ignore[no-untyped-call]
    for key in ("PrivateUse1", "SparsePrivateUse1", "SparseCsrPrivateUse1", "QuantizedPrivateUse1"):
        fallback.fallback(_run, key)  # type: ignore[no-untyped-call]
    # Nothing is cast: which operations CUDA casts is no question of where the tensors are.
    fallback.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")  # type: ignore[no-untyped-call]
    whole = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    for op in _taken_apart_elsewhere():
        whole.impl(op, _bound(op), "PrivateUse1")  # type: ignore[no-untyped-call]
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


@dataclass(frozen=True, slots=True)
class _Operation:
    """What is known of one operation. wants_tensors: the positions where it takes a tensor, and no number."""

    base: str
    may_mix: bool
    makes_something_new: bool
    wants_tensors: tuple[int, ...]


@functools.cache
def _known(op: Any) -> _Operation:
    schema = op._schema
    base = schema.name.partition("::")[2]
    takes_numbers = torch._C._should_allow_numbers_as_tensors(base)
    wants = () if takes_numbers else [n for n, each in enumerate(schema.arguments) if str(each.type) == "Tensor"]
    may_mix = base in _MAY_MIX or f"{base}.{schema.overload_name}" in _MAY_MIX_PACKED
    return _Operation(base, may_mix, _has_no_alias(op), tuple(wants))


def _run(op: Any, *args: Any, **kwargs: Any) -> Any:
    known = _known(op)
    if known.base in _VIEWS:
        return with_cpu_kernel(op, *args, **kwargs)
    if known.base == "resize_":
        return _resized(*args)
    call = _Call()
    twins, named = call.operand(args), {name: call.operand(value) for name, value in kwargs.items()}
    if not known.may_mix or (known.base in _PUT and _mix(args[0], args[2])):
        call.refuse_to_mix(known.base)
    with _as_called_by_a_user() if known.makes_something_new and torch.is_grad_enabled() else nullcontext():
        made = _call(op, known, twins, named)
    return call.result(made)


def _mix(put_into: torch.Tensor, values: torch.Tensor) -> bool:
    return values.dim() > 0 and put_into.device != values.device


def _as_called_by_a_user() -> Any:
    """With autograd switched on: torch chooses some kernels by whether gradients are kept."""
    excluded = torch._C._dispatch_tls_local_exclude_set() - _AUTOGRAD
    return torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), excluded)


def _call(op: Any, known: _Operation, args: Any, kwargs: Any) -> Any:
    if known.base == "_copy_from":
        return args[1].copy_(args[0])
    if known.base == "convolution_overrideable":  # what torch takes for a device that it doesn't know
        return _aten.convolution.default(*args, **kwargs)
    if known.base == "convolution_backward_overrideable":
        grad, x, weight, *rest, mask = args
        return _aten.convolution_backward.default(grad, x, weight, [weight.shape[0]], *rest, mask)
    if known.base == "linear_backward":  # the CPU takes `linear` apart, so it has none
        return _linear_backward(*args)
    if known.base == "histc" and not args[0].is_floating_point():  # which CUDA has for whole numbers as well
        return op(args[0].double(), *args[1:], **kwargs).to(args[0].dtype)
    if any(n < len(args) and isinstance(args[n], int | float | complex) for n in known.wants_tensors):
        return op.overloadpacket(*args, **kwargs)  # a number that torch had made a tensor of comes as a number
    return op(*args, **kwargs)


def _linear_backward(x: torch.Tensor, grad: torch.Tensor, weight: torch.Tensor, mask: list[bool]) -> Any:
    rows = grad.reshape(-1, weight.shape[0])
    none = grad.new_empty(0)
    return (
        (rows @ weight).reshape(x.shape) if mask[0] else none,
        rows.t() @ x.reshape(-1, weight.shape[1]) if mask[1] else none,
        rows.sum(0) if mask[2] else none,
    )


def _resized(tensor: torch.Tensor, size: list[int]) -> torch.Tensor:
    """In memory of its own where it grows: a storage of `sim` keeps its size."""
    storage, like = tensor.untyped_storage(), torch.empty(size, dtype=tensor.dtype)
    if storage.nbytes() < like.untyped_storage().nbytes():
        host = on_host(storage)
        like.untyped_storage()[: host.nbytes()] = host
        storage = on_sim(like.untyped_storage())
    return put(tensor, storage, 0, like.shape, like.stride())


class _Call:
    """The operands of one operation as the CPU sees them, and the way back for its results.

    An operand that comes twice has one twin: attention asks whether query and key are the same tensor.
    """

    def __init__(self) -> None:
        self._to_sim = False
        self._has_cpu: bool = False
        self._target: torch.device | None = None
        # By the address of torch's own object: the storage on `sim` of each host storage.
        self._sim: dict[int, torch.UntypedStorage] = {}
        # By id: the operand and its twin; and the operand of each twin.
        self._twins: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._originals: dict[int, torch.Tensor] = {}

    def operand(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, list | tuple):
            return type(value)([self.operand(each) for each in value])
        if isinstance(value, torch.device):
            self._target = value
            return torch.device("cpu") if value.type == DEVICE_TYPE else value
        return value

    def refuse_to_mix(self, operation: str) -> None:
        """Raises as CUDA does. A number in a tensor without dimensions may come from the CPU."""
        if self._to_sim and self._has_cpu:
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{DEVICE_TYPE}:0 and cpu! (in {operation})"
            )

    def result(self, made: Any) -> Any:
        if isinstance(made, torch.Tensor):
            return self._made(made)
        return type(made)([self.result(each) for each in made]) if isinstance(made, list | tuple) else made

    def _tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        # Tensors of other kinds can't be on `sim`, and mix; see `StrictSimDevice`.
        plain = tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_nested
        if tensor.device.type != DEVICE_TYPE or not plain:
            self._has_cpu |= plain and tensor.dim() > 0 and tensor.device.type == "cpu"
            return tensor
        self._to_sim = True
        if id(tensor) not in self._twins:
            twin = self._twin(tensor)
            self._twins[id(tensor)] = (tensor, twin)
            self._originals[id(twin)] = tensor
        return self._twins[id(tensor)][1]

    def _twin(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if not storage.nbytes():  # it may be there to be resized, for an operation's result
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
        host = on_host(storage)
        self._sim[host._cdata] = storage
        with torch.inference_mode(tensor.is_inference()) if torch.is_inference_mode_enabled() else nullcontext():
            twin = view(host, tensor.dtype, tensor.storage_offset(), tensor.shape, tensor.stride())
        # `matmul` chooses by it how it folds its operands.
        return twin.requires_grad_() if tensor.requires_grad else twin

    def _made(self, made: torch.Tensor) -> torch.Tensor:
        original, host = self._originals.get(id(made)), made.untyped_storage()
        storage = self._sim.get(host._cdata)
        to_sim = self._target.type == DEVICE_TYPE if self._target is not None else self._to_sim
        if original is None and storage is None and not (to_sim and made.device.type == "cpu"):
            return made
        changed = storage is None and host.nbytes() > 0
        storage = storage if storage is not None else on_sim(host)
        if original is None:
            # A view of an ordinary tensor is one too, in inference mode as well.
            with torch.inference_mode(made.is_inference()) if torch.is_inference_mode_enabled() else nullcontext():
                return view(storage, made.dtype, made.storage_offset(), made.shape, made.stride())
        if changed or made.shape != original.shape:  # resized
            put(original, storage, made.storage_offset(), made.shape, made.stride())
        return original
