"""What a tensor is while its model sleeps: it has no bytes, says what it will be again, and refuses all else.

An empty tensor takes a good deal in silence: a cast, `fill_`, `.data = other`. At the next wake the old bytes would be
back, and nobody would know; and a pickle or a copy of it would be a model without weights. So a sleeping tensor has a
class that torch asks about each call (`__torch_function__`). What can be answered truthfully is: shape, dtype, strides,
and the device, which is the CPU, for its bytes are in host RAM. All else raises `ModelNotHeld` before anything has
changed. isinstance goes on to hold, the object stays the same, and awake it has the class that it had.

What gets around torch's Python, `torch.utils.swap_tensors` above all, is found by `is_as_left`.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import new_class
from typing import Any

import torch

from ....errors import ModelNotHeld

# Where a sleeping tensor keeps what it was, beside what its user keeps there.
_LEFT = "_dormouse_left"
_CPU = torch.device("cpu")

# Answered by a tensor of the same form on the meta device.
_OF_ITS_FORM = frozenset(
    (
        *("shape", "size", "stride", "dim", "ndim", "ndimension", "numel", "nelement", "__len__", "dtype", "layout"),
        *("element_size", "itemsize", "nbytes", "is_floating_point", "is_complex", "is_signed", "is_contiguous"),
        *("is_sparse", "is_sparse_csr", "is_quantized", "is_mkldnn", "is_nested", "is_conj", "is_neg"),
        *("is_same_size", "result_type", "dim_order", "names", "has_names"),
    )
)
# Answered with a tensor of its form in host RAM, where it is: none of its bytes are in that.
_ANEW = frozenset(
    (
        *("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "randint_like"),
        *("new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided"),
    )
)
# Answered by the tensor itself: they are no part of its bytes, and outlast a sleep.
_OF_ITSELF = frozenset(
    (
        *("requires_grad", "requires_grad_", "grad", "grad_fn", "is_leaf", "retains_grad", "output_nr", "is_inference"),
        *("name", "_backward_hooks", "register_hook", "_post_accumulate_grad_hooks", "__dir__"),
        *("register_post_accumulate_grad_hook", "grad_dtype", "_version", "_grad"),
    )
)
_WHERE_IT_IS: Mapping[str, object] = {"device": _CPU, "is_cpu": True, "get_device": -1}
_WHERE_IT_IS_NOT = frozenset(
    ("is_cuda", "is_meta", "is_xpu", "is_mps", "is_ipu", "is_hpu", "is_mtia", "is_xla", "is_vulkan", "is_maia")
)


@dataclass(frozen=True, slots=True)
class Form:
    """What a tensor of a model is, beyond its bytes. path: its name in the model, for a person."""

    model_name: str
    path: str
    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype

    def ghost(self) -> torch.Tensor:
        """A tensor like it, without bytes."""
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device="meta")


def fall_asleep(tensor: torch.Tensor, form: Form) -> None:
    """Its data is let go already. Where Python lets no instance change its class, torch's own errors have to do."""
    cls = type(tensor)
    if cls not in _asleep_classes:
        try:
            tensor.__class__ = asleep(cls)
        except TypeError:
            return
    tensor.__dict__[_LEFT] = form


def wake_up(tensor: torch.Tensor) -> None:
    """It has the class that it had; its data is the caller's to set."""
    cls = _asleep_classes.get(type(tensor))
    if cls is not None:
        tensor.__class__ = cls
        tensor.__dict__.pop(_LEFT, None)


def is_asleep(tensor: torch.Tensor) -> bool:
    return type(tensor) in _asleep_classes


def is_as_left(tensor: torch.Tensor, form: Form) -> bool:
    """Whether nobody has put other bytes into a sleeping tensor. Call it where torch asks no subclass."""
    if type(tensor) in _asleep_classes:
        return tensor.__dict__.get(_LEFT) is form and tensor.dtype is form.dtype and not tensor.numel()
    # One of those that `fall_asleep` could not change. Its version is not looked at: `.data` has one of its own.
    return tensor.dtype is form.dtype and not tensor.numel() and tensor.shape == (0,)


# By the class of a sleeping tensor, the one that it has awake.
_asleep_classes: dict[type[torch.Tensor], type[torch.Tensor]] = {}


@functools.cache
def asleep(awake: type[torch.Tensor]) -> type[torch.Tensor]:
    """The class of such tensors while they sleep."""
    body = {"__torch_function__": classmethod(_answer_or_refuse), "__module__": awake.__module__}
    cls: type[torch.Tensor] = new_class(awake.__name__, (awake,), exec_body=lambda space: space.update(body))
    _asleep_classes[cls] = awake
    return cls


def _answer_or_refuse(
    cls: type[torch.Tensor],
    func: Callable[..., Any],
    classes: Iterable[type],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """What torch calls for each of its functions and methods that has such a tensor among its arguments."""
    name, kwargs = _name(func), kwargs or {}
    first = args[0] if args else kwargs.get("input")
    form = _form(first)
    with torch._C.DisableTorchFunctionSubclass():
        if form is not None:
            if name in _WHERE_IT_IS:
                return _WHERE_IT_IS[name]
            if name in _WHERE_IT_IS_NOT:
                return False
            if name == "grad" and len(args) > 1 and args[1] is not None:
                raise _refusal("grad = …", form)
            if name in _OF_ITSELF:
                return func(*args, **kwargs)
            if name in _ANEW:
                return func(*map(_as_ghost, args), **{**kwargs, "device": kwargs.get("device") or _CPU})
            if name in ("__repr__", "__format__"):
                return (
                    f"{cls.__name__}({form.path!r} of model {form.model_name!r}, asleep, {form.dtype}, {[*form.shape]})"
                )
        if name in _OF_ITS_FORM:
            return func(*map(_as_ghost, args), **{key: _as_ghost(value) for key, value in kwargs.items()})
    raise _refusal(name, form or next((found for found in map(_form, _inside((args, kwargs))) if found), None))


def _name(func: Callable[..., Any]) -> str:
    name = getattr(func, "__name__", str(func))
    if name in ("__get__", "__set__", "__delete__"):  # of a property: `Tensor.data.__set__`
        attribute = getattr(getattr(func, "__self__", None), "__name__", name)
        return f"{attribute} = …" if name == "__set__" and attribute not in _OF_ITSELF else str(attribute)
    return name


def _form(value: object) -> Form | None:
    return value.__dict__.get(_LEFT) if isinstance(value, torch.Tensor) and type(value) in _asleep_classes else None


def _as_ghost(value: object) -> object:
    form = _form(value)
    return value if form is None else form.ghost()


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _inside(item)
    elif isinstance(value, dict):
        yield from _inside(list(value.values()))
    else:
        yield value


def _refusal(name: str, form: Form | None) -> ModelNotHeld:
    model, path = (form.model_name, form.path) if form is not None else ("…", "a weight")
    return ModelNotHeld(
        f"{name} on {path!r} of model {model!r} was refused: the model is asleep and nobody holds it; the weight is as "
        f"it was. Do it inside `with residency[{model!r}].on_gpu() as model:`, and take `model` anew each time"
    )
