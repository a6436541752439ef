"""Models with tensors that are no plain strided bytes, and models that keep their tensors in unusual places."""

import tempfile
import warnings
import weakref
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree


class Scaled(torch.Tensor):
    """A wrapper subclass that dispatches for itself, as quantized weights do: a tensor of bytes and a scale."""

    inner: torch.Tensor
    scale: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor, scale: torch.Tensor) -> "Scaled":
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=scale.dtype, device=inner.device)  # type: ignore[attr-defined,no-any-return]

    def __init__(self, inner: torch.Tensor, scale: torch.Tensor) -> None:
        self.inner, self.scale = inner, scale

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner", "scale"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, torch.Tensor], *_: object) -> "Scaled":
        return Scaled(inner["inner"], inner["scale"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        moves = (torch.ops.aten._to_copy.default, torch.ops.aten.clone.default, torch.ops.aten.detach.default)
        if func in moves:
            kwargs = {name: value for name, value in (kwargs or {}).items() if name != "dtype"}
            return Scaled(func(args[0].inner, **kwargs), func(args[0].scale, **kwargs))
        plain = pytree.tree_map_only(Scaled, lambda tensor: tensor.inner.to(tensor.scale.dtype) * tensor.scale, args)
        return func(*plain, **(kwargs or {}))


class Named(nn.Parameter):
    """A subclass of Parameter that only has something to say: it does not dispatch."""

    note = "from the hub"


class Odd(nn.Module):
    """One linear map whose weight is of some kind that no arena can hold."""

    def __init__(self, weight: torch.Tensor, *, as_parameter: bool = False) -> None:
        super().__init__()
        self.before = nn.Linear(8, 8)
        if as_parameter:
            self.weight = nn.Parameter(weight, requires_grad=False)
        else:
            self.register_buffer("weight", weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight
        if weight.is_quantized:
            weight = weight.dequantize()
        if weight.is_complex():
            return torch.as_tensor(torch.view_as_real(self.before(x).to(weight.dtype) @ weight))
        return torch.as_tensor((weight @ self.before(x).t()).t())


def quantized(*, per_channel: bool) -> Odd:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weight = torch.randn(8, 8)
        if not per_channel:
            return Odd(torch.quantize_per_tensor(weight, 0.05, 3, torch.qint8))
        scales, zeros = torch.rand(8, dtype=torch.float64) + 0.01, torch.zeros(8, dtype=torch.int64)
        return Odd(torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8))


def dynamically_quantized() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
        return torch.ao.quantization.quantize_dynamic(plain, {nn.Linear}, dtype=torch.qint8)  # type: ignore[no-any-return]


def sparse(layout: torch.layout) -> Odd:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dense = torch.randn(8, 8) * (torch.rand(8, 8) > 0.5)
        return Odd(dense.to_sparse() if layout is torch.sparse_coo else dense.to_sparse_csr())


def conjugated() -> Odd:
    return Odd(torch.randn(8, 8, dtype=torch.complex64).conj())


class Negated(nn.Module):
    """The imaginary part of a conjugated tensor is a negated view of its bytes, and the bytes are a buffer too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("phase", torch.randn(8, dtype=torch.complex64))
        self.register_buffer("negated", self.phase.conj().imag)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.negated + self.phase.real


def own_dispatch(*, as_parameter: bool) -> Odd:
    weight = Scaled(torch.randint(-127, 127, (8, 8), dtype=torch.int8), torch.tensor(0.02))
    return Odd(weight, as_parameter=as_parameter)


def parameter_subclass() -> nn.Module:
    layer = nn.Linear(8, 8)
    layer.weight = Named(layer.weight.data)
    return layer


def merged_lora() -> nn.Module:
    layer = nn.Linear(8, 8)
    layer.weight.data += torch.randn(8, 2) @ torch.randn(2, 8)
    return layer


class OwnApply(nn.Module):
    """Moves itself, or rather refuses to: what `.to()` would do is not what Dormouse does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        raise NotImplementedError("this module does not move")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.inner(x))


class WithAttributes(nn.Module):
    steps: list[torch.Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.plain = torch.randn(8)
        self.steps = [torch.randn(8), torch.randn(8)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = self.inner(x) + self.plain
        for step in self.steps:
            total = total * step
        return total


def scripted_with_attributes() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(WithAttributes().eval())  # type: ignore[no-any-return]


def traced() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(nn.Sequential(nn.Linear(8, 8), nn.Tanh()).eval(), torch.ones(4, 8))  # type: ignore[no-any-return]


class OddInATuple(nn.Module):
    """Nothing can be put in the stead of what a tuple holds."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.pair = (torch.randn(8), torch.quantize_per_tensor(torch.randn(8), 0.1, 0, torch.qint8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.inner(x) * self.pair[0] + self.pair[1].dequantize())


class Flat(nn.Module):
    """Parameters cut out of one big storage that nobody holds as a tensor."""

    def __init__(self) -> None:
        super().__init__()
        flat = torch.randn(1 + 64 + 8)
        self.weight = nn.Parameter(flat[1:65].view(8, 8))
        self.bias = nn.Parameter(flat[65:])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight, self.bias)


class Mapped(nn.Module):
    """Weights in pages of a file."""

    def __init__(self) -> None:
        super().__init__()
        with tempfile.NamedTemporaryFile(suffix=".bin") as file:
            file.write(torch.randn(72).numpy().tobytes())
            file.flush()
            flat = torch.from_file(file.name, shared=True, size=72)
        self.weight = nn.Parameter(flat[:64].view(8, 8), requires_grad=False)
        self.register_buffer("bias", flat[64:])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight, self.bias)


class Watched(nn.Module):
    """Weak references to its parameters, as optimizers and caches keep, for which `swap_tensors` refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.watching = [weakref.ref(parameter) for parameter in self.inner.parameters()]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = (reference() for reference in self.watching)
        assert weight is not None
        return nn.functional.linear(x, weight, bias)


class Restless(nn.Module):
    """Its attributes are others after each use."""

    def __init__(self) -> None:
        super().__init__()
        self.even = torch.randn(8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.even_odd = torch.quantize_per_tensor(torch.randn(8), 0.1, 0, torch.qint8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        old, new = ("even", "uneven") if hasattr(self, "even") else ("uneven", "even")
        for name in ("", "_odd"):
            setattr(self, new + name, self.__dict__.pop(old + name))
        return torch.as_tensor(x * getattr(self, new) + getattr(self, new + "_odd").dequantize())
