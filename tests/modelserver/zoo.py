"""Models of every shape that weights come in. Each load gives the same weights; each has one answer to give."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tests.modelserver import odd_zoo

X = torch.linspace(-1, 1, 4 * 8).reshape(4, 8)


def seeded(make: Callable[[], Any]) -> Callable[[], Any]:
    def load() -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            made = make()
        for module in [made, *getattr(made, "__dict__", {}).values()]:
            if isinstance(module, nn.Module):
                module.eval()
        return made

    return load


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(16, 8)
        self.head = nn.Linear(8, 16, bias=False)
        self.head.weight = self.embedding.weight
        self.same_storage = nn.Parameter(self.embedding.weight.data)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.head(x) + self.same_storage.sum() + self.embedding.weight[0, 0])


class Views(nn.Module):
    """Offsets, transposed and overlapping strides, and a zero-stride broadcast, all in one storage."""

    def __init__(self) -> None:
        super().__init__()
        base = torch.randn(100)
        self.register_buffer("base", base)
        self.register_buffer("transposed", base[4:68].view(8, 8).t())
        self.register_buffer("windows", base.as_strided((10, 8), (3, 1), 2))
        self.register_buffer("spread", base[7:8].expand(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.transposed) @ self.windows.t() + (self.spread * x).sum() + self.base.sum()


class Mixed(nn.Module):
    """Dtypes of every width, no elements, no dimensions, non-persistent."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Parameter(torch.randn(8, 3).half())
        self.wide = nn.Parameter(torch.randn(3, 5, dtype=torch.float64))
        self.empty = nn.Parameter(torch.empty(0, 8))
        self.scalar = nn.Parameter(torch.tensor(2.5))
        self.register_buffer("mask", torch.tensor([True, False, True, True, False]))
        self.register_buffer("phase", torch.polar(torch.ones(5), torch.arange(5.0)))
        self.register_buffer("steps", torch.tensor([3], dtype=torch.int64), persistent=False)
        self.register_buffer("bytes3", torch.tensor([1, 2, 3], dtype=torch.uint8))
        self.register_buffer("brain", torch.randn(5).bfloat16())
        self.register_buffer("nothing", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = (x.half() @ self.narrow).double() @ self.wide * self.mask + self.scalar + self.steps
        turned = y * self.phase.to(torch.complex128)
        return turned.real + turned.imag + self.bytes3.sum() + self.brain + self.empty.numel()


class Hidden(nn.Module):
    """Tensors and modules that torch itself knows nothing of."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = torch.randn(8)
        self.listed = [torch.randn(8), {"deep": torch.randn(8)}]
        self.unregistered = [nn.Linear(8, 8).eval(), (nn.LayerNorm(8).eval(),)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, (second,) = self.unregistered
        return torch.as_tensor(second(first(x)) * self.plain + self.listed[0] + self.listed[1]["deep"])


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(8, 8)
        self.again = self.one
        self.layers = nn.Sequential(self.one, nn.ReLU(), self.one)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.layers(x) + self.again(x))


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 4, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.norm = nn.BatchNorm2d(4)
        self.norm.running_mean = torch.randn(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        picture = x.reshape(1, 8, 2, 2).to(memory_format=torch.channels_last)
        return torch.as_tensor(self.norm(self.conv(picture)))


class Scriptable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.register_buffer("shift", torch.randn(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.inner(x) + self.shift)


class Pipeline:
    """Not a module: an object that holds three, two of which share one, as a TTS does."""

    def __init__(self) -> None:
        self.encoder = nn.Linear(8, 8)
        self.decoder = nn.Sequential(self.encoder, nn.Tanh(), nn.Linear(8, 8))
        self.vocoder = nn.GRU(8, 4, batch_first=True)
        self.mean = torch.randn(8)
        self.rate = 16_000

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.vocoder(self.decoder(self.encoder(x) + self.mean).unsqueeze(0))[0])


class Slotted:
    __slots__ = ("layer",)

    def __init__(self) -> None:
        self.layer = nn.Linear(8, 8).eval()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.layer(x))


def _old_weight_norm() -> nn.Module:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(nn.Linear(8, 8))


def _scripted() -> nn.Module:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(Scriptable().eval())  # type: ignore[no-any-return]


def _parametrized() -> nn.Module:
    return nn.utils.parametrizations.weight_norm(nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)), name="bias")


def _transformer() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False)


def _in_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return nn.Linear(8, 8)


@dataclass(frozen=True)
class Exhibit:
    """apart: the paths of what can't be packed. stays: some of that stays in host RAM, so the device counts less."""

    load: Callable[[], Any]
    x: torch.Tensor = X
    apart: tuple[str, ...] = ()
    stays: bool = False

    def answer(self, model: Any) -> torch.Tensor:
        with torch.inference_mode():
            return torch.as_tensor(model(self.x)).clone()


ZOO = {
    "linear": Exhibit(seeded(lambda: nn.Linear(8, 8))),
    "tied": Exhibit(seeded(Tied)),
    "views": Exhibit(seeded(Views)),
    "mixed dtypes": Exhibit(seeded(Mixed)),
    "hidden from torch": Exhibit(seeded(Hidden)),
    "shared twice": Exhibit(seeded(Twice)),
    "channels last and batch norm": Exhibit(seeded(Convolution)),
    "weight norm": Exhibit(seeded(_old_weight_norm)),
    "parametrized": Exhibit(seeded(_parametrized)),
    "scripted": Exhibit(seeded(_scripted)),
    "transformer": Exhibit(seeded(_transformer), torch.linspace(-1, 1, 2 * 3 * 8).reshape(2, 3, 8)),
    "pipeline": Exhibit(seeded(Pipeline)),
    "slotted": Exhibit(seeded(Slotted)),
    "made in inference mode": Exhibit(seeded(_in_inference_mode)),
    "no weights at all": Exhibit(seeded(lambda: nn.ReLU())),
    "quantized": Exhibit(seeded(lambda: odd_zoo.quantized(per_channel=False)), apart=("weight",)),
    "quantized per channel": Exhibit(seeded(lambda: odd_zoo.quantized(per_channel=True)), apart=("weight",)),
    "dynamically quantized": Exhibit(
        seeded(odd_zoo.dynamically_quantized), apart=("0._packed_params._packed_params",), stays=True
    ),
    "sparse COO": Exhibit(seeded(lambda: odd_zoo.sparse(torch.sparse_coo)), apart=("weight",)),
    "sparse CSR": Exhibit(seeded(lambda: odd_zoo.sparse(torch.sparse_csr)), apart=("weight",)),
    "conjugated": Exhibit(seeded(odd_zoo.conjugated), apart=("weight",)),
    "negated view": Exhibit(seeded(odd_zoo.Negated), apart=("negated",)),
    "dispatches for itself": Exhibit(seeded(lambda: odd_zoo.own_dispatch(as_parameter=False)), apart=("weight",)),
    "parameter that dispatches": Exhibit(seeded(lambda: odd_zoo.own_dispatch(as_parameter=True)), apart=("weight",)),
    "subclass of parameter": Exhibit(seeded(odd_zoo.parameter_subclass)),
    "merged LoRA": Exhibit(seeded(odd_zoo.merged_lora)),
    "own _apply": Exhibit(seeded(odd_zoo.OwnApply)),
    "scripted with attributes": Exhibit(seeded(odd_zoo.scripted_with_attributes)),
    "traced": Exhibit(seeded(odd_zoo.traced)),
    "odd in a tuple": Exhibit(seeded(odd_zoo.OddInATuple), apart=("pair[1]",), stays=True),
    "cut out of one storage": Exhibit(seeded(odd_zoo.Flat)),
    "mapped from a file": Exhibit(seeded(odd_zoo.Mapped)),
    "watched by weak references": Exhibit(seeded(odd_zoo.Watched)),
    "attributes that change": Exhibit(seeded(odd_zoo.Restless), apart=("even_odd",)),
}
