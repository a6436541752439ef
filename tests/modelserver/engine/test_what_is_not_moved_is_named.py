"""What is seen and does not move has a line: in the log, in `moved_apart`, with what to write so that it moves."""

import functools
import logging
import types
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from dormouse_modelserver import LoadFailed, Residency, ResidencyManager
from dormouse_modelserver.engines.torch.layout import objects
from dormouse_modelserver.engines.torch.layout.inventory import take_inventory
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn

from tests.modelserver.odd_zoo import Scaled
from tests.modelserver.zoo import X

from .using import held, on_gpu

Make = Callable[..., Weights[Any]]


class Codec:
    def __init__(self) -> None:
        self.codebook, self.rate = torch.ones(16, 8), 16_000


class Voice:
    def __init__(self) -> None:
        self.embedding = torch.ones(8)


class OfAll:
    """A model of the class, which all objects share."""

    model = nn.Linear(2, 2)
    window = torch.ones(4)


class Registry:
    models: ClassVar[dict[str, Any]] = {"tts": types.SimpleNamespace(net=nn.Linear(2, 2))}


class ByDefault:
    def encode(self, x: torch.Tensor, codec: nn.Module = nn.Linear(2, 2)) -> torch.Tensor:  # noqa: B008
        return torch.as_tensor(codec(x))


class Cached:
    @functools.lru_cache  # noqa: B019
    def codec(self) -> nn.Module:
        return nn.Linear(2, 2)


def cached() -> Cached:
    made = Cached()
    made.codec()
    return made


class WithAWindow(nn.Linear):
    window = torch.ones(4)


def app(**attributes: Any) -> types.SimpleNamespace:
    return types.SimpleNamespace(model=nn.Linear(8, 8), **attributes)


def closure(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    return lambda: tensor


def steered() -> nn.Module:
    model, vector = nn.Sequential(nn.Linear(8, 8)), torch.ones(8)
    hooks = model[0]._forward_hooks
    hooks[0] = lambda module, args, answer: answer + vector
    return model


class Voices(dict[str, Any]):
    embedding: torch.Tensor


def with_attributes() -> Voices:
    voices = Voices()
    voices.embedding = torch.ones(4)
    return voices


NAMED: dict[str, tuple[Callable[[], Any], str, str]] = {
    "in an object": (
        lambda: app(codec=Codec()),
        "codec.codebook",
        "a tensor (512 bytes) held by an object of class Codec, which is no module, so it stays where it is; "
        "if it is to move, write modules=lambda app: (app, app.codec)",
    ),
    "deeper": (
        lambda: app(speech=types.SimpleNamespace(codec=Codec())),
        "speech.codec.codebook",
        "modules=lambda app: (app, app.speech.codec)",
    ),
    "in many": (
        lambda: app(voices={"a": Voice(), "b": Voice(), "c": Voice()}),
        "voices['a'].embedding",
        "the first of 3 tensors (96 bytes) held by an object of class Voice",
    ),
    "in a dict of an object": (
        lambda: app(codec=types.SimpleNamespace(all={"deep": [torch.ones(4)]})),
        "codec.all['deep'][0]",
        "modules=lambda app: (app, app.codec)",
    ),
    "in a closure": (lambda: app(bias=closure(torch.ones(4))), "bias.<tensor>", "hold it in an attribute"),
    "in a partial": (
        lambda: app(add=functools.partial(torch.add, torch.ones(4))),
        "add.args[0]",
        "held by an object of class partial",
    ),
    "bound to a tensor": (lambda: app(add=torch.ones(4).add), "add.__self__", "so it stays where it is"),
    "that dispatches for itself": (
        lambda: app(codec=types.SimpleNamespace(weight=Scaled(torch.ones(4, dtype=torch.int8), torch.tensor(0.5)))),
        "codec.weight",
        "so it stays where it is",
    ),
    "in an optimizer": (
        lambda: app(training=torch.optim.SGD([nn.Parameter(torch.ones(4))])),
        "training.param_groups[0]['params'][0]",
        "held by an object of class SGD",
    ),
    "a module of a class": (lambda: app(hub=OfAll()), "hub.model", "that hangs on the class OfAll"),
    "a tensor of a class": (lambda: app(hub=OfAll()), "hub.window", "in an attribute of the class OfAll"),
    "in a registry of a class": (
        lambda: app(hub=Registry()),
        "hub.models['tts'].net",
        "hangs on the class Registry, which all of its objects share, so it stays where it is; if it is to move, "
        "write modules=lambda app: (app, app.hub.models['tts'].net)",
    ),
    "a default of a method": (lambda: app(hub=ByDefault()), "hub.encode.<defaults>[0]", "that hangs on the class"),
    "a cached method's": (lambda: app(hub=cached()), "hub.codec.<2>", "that hangs on the class Cached"),
    "in a hook": (steered, "0._forward_hooks[0].<vector>", "hold it in an attribute of the model"),
    "an attribute of a container's": (
        lambda: app(codec=types.SimpleNamespace(all=with_attributes())),
        "codec.all.embedding",
        "so it stays where it is",
    ),
    "a tensor of a module's class": (lambda: WithAWindow(8, 8), "window", "in an attribute of the class WithAWindow"),
}


def split(lines: tuple[str, ...]) -> dict[str, str]:
    return {path: reason for path, _, reason in (line.partition(": ") for line in lines)}


@pytest.mark.parametrize(("load", "path", "says"), NAMED.values(), ids=NAMED.keys())
def test_a_loose_tensor_is_named_with_what_to_write(
    make: Make, caplog: pytest.LogCaptureFixture, load: Callable[[], Any], path: str, says: str
) -> None:
    weights = on_gpu(make(load))
    named = split(weights.moved_apart)
    assert says in named[path]
    assert [record.getMessage() for record in caplog.records if f"not in the arena: {path}: " in record.getMessage()]
    weights.offload()
    assert split(weights.moved_apart) == named
    weights.restore()


def test_what_is_written_moves_it(make: Make, device: SimDevice) -> None:
    weights = on_gpu(make(lambda: app(codec=Codec()), modules=lambda app: (app, app.codec)))
    assert weights.moved_apart == ()
    assert weights.device_bytes == device.memory().used >= (16 * 8 + 8 * 8 + 8) * 4


def test_numbers_without_dimensions_and_what_moves_all_the_same_are_not_named() -> None:
    model = nn.Linear(8, 8)
    root = types.SimpleNamespace(
        model=model, codec=types.SimpleNamespace(scale=torch.tensor(2.0), weight=model.weight, text="text")
    )
    assert take_inventory(root).opaque == ()


def test_a_cache_that_grows_while_awake_is_named_at_the_next_demotion(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    weights = on_gpu(make(lambda: app(cache=types.SimpleNamespace(keys=[]))))
    assert weights.moved_apart == ()
    with held(weights) as model:
        model.cache.keys.append(torch.ones(8))
    for _ in range(2):
        weights.offload()
        weights.restore()
    assert "cache.keys[0]" in split(weights.moved_apart)
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


def test_more_objects_than_are_looked_into_are_said(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "MOST_OBJECTS", 100)
    weights = on_gpu(make(lambda: app(voices=[Voice() for _ in range(200)])))
    assert "not all were looked into" in split(weights.moved_apart)["the model"]


def script(module: nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(module.eval())


def frozen() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.freeze(script(nn.Sequential(nn.Linear(8, 8), nn.Tanh())))


def optimized() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.optimize_for_inference(script(nn.Sequential(nn.Conv1d(8, 8, 1), nn.BatchNorm1d(8))))


class Closed(nn.Module):
    """Computes with a tensor that it does not have."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weigh = lambda x: x @ weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.weigh(x))


def traced(what: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(what, (X,), check_trace=False)


def quantized_and_frozen() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = nn.Sequential(nn.Linear(8, 8)).eval()
        packed = torch.ao.quantization.quantize_dynamic(plain, {nn.Linear}, dtype=torch.qint8)
        return torch.jit.freeze(script(packed))


CONSTANTS: dict[str, Callable[[], Any]] = {
    "frozen": frozen,
    "optimized for inference": optimized,
    "traced over a tensor": lambda: traced(Closed(torch.ones(8, 8))),
    "a traced function": lambda: traced(function_over(torch.ones(8, 8))),
    "quantized and frozen": quantized_and_frozen,
}


def function_over(weight: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: x @ weight


@pytest.mark.parametrize("load", CONSTANTS.values(), ids=CONSTANTS.keys())
def test_constants_of_code_are_refused_where_there_is_nothing_else(make: Make, load: Callable[[], Any]) -> None:
    weights = make(load)
    with pytest.raises(LoadFailed, match="constants in its code"):
        weights.wake()
    assert weights.residency is Residency.UNLOADED


@pytest.mark.parametrize("load", CONSTANTS.values(), ids=CONSTANTS.keys())
def test_constants_of_code_are_named_beside_what_moves(make: Make, load: Callable[[], Any]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.parts = nn.Linear(8, 8), [load()]

    weights = on_gpu(make(Net))
    assert "constants in its code" in split(weights.moved_apart)["parts[0]"]
    weights.offload()
    weights.restore()
    assert "constants in its code" in split(weights.moved_apart)["parts[0]"]


def test_constants_of_a_script_inside_a_script_are_named() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.closed = nn.Linear(8, 8), traced(Closed(torch.ones(8, 8)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(self.closed(self.inner(x)))

    assert "1 constants" in split(take_inventory(script(Net())).opaque)["the model"]


class State:
    """Of a class that TorchScript compiles along with who uses it."""

    def __init__(self, bias: torch.Tensor) -> None:
        self.bias = bias


def script_class(cls: type[State]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(cls)


class Stateful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.state = nn.Linear(8, 8), script_class(State)(torch.ones(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + self.state.bias


def test_an_object_of_a_scripted_class_is_named() -> None:
    assert "whose inside can't be reached" in split(take_inventory(script(Stateful())).opaque)["state"]


@pytest.mark.parametrize("device", ["sim:1GiB", "sim-strict:1GiB"])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_moves_on_its_own(device: str) -> None:
    manager = ResidencyManager(device, socket="")
    a = manager.register("a", lambda: app(lengths=torch.nested.nested_tensor([torch.ones(2, 3), torch.zeros(1, 3)])))
    for _ in range(2):
        with a.on_gpu() as model:
            assert [part.sum().item() for part in model.lengths.unbind()] == [6, 0]
        a.move_to(Residency.CPU)
    assert split(a.moved_apart) == {"lengths": "it is nested"}
    manager.close()


@pytest.mark.parametrize("device", ["sim:1GiB", "sim-strict:1GiB"])
def test_a_tensor_for_the_cpu_alone_stays_and_is_named(device: str) -> None:
    manager = ResidencyManager(device, socket="")
    a = manager.register("a", lambda: app(codec=nn.ParameterDict(), packed=torch.eye(3).to_mkldnn()))
    for _ in range(2):
        with a.on_gpu() as model:
            assert torch.equal(model.packed.to_dense(), torch.eye(3))
        a.move_to(Residency.CPU)
    assert "it stays in host RAM" in split(a.moved_apart)["packed"]
    manager.close()


def test_a_script_whose_weights_are_its_own_has_none() -> None:
    assert take_inventory(script(nn.Sequential(nn.Linear(8, 8)))).opaque == ()
    assert take_inventory(traced(nn.Sequential(nn.Linear(8, 8)))).opaque == ()
