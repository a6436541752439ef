"""What names a device names that of the weights while the model is held, and afterwards what it named before."""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from dormouse_modelserver import LoadFailed, Residency, ResidencyManager
from dormouse_modelserver.engines.torch.layout.devices import find_mentions
from dormouse_modelserver.engines.torch.layout.inventory import take_inventory
from dormouse_modelserver.engines.torch.layout.references import References
from torch import nn

CPU = torch.device("cpu")
SIM = "sim:0"


class Wrapper:
    """As `transformers.Pipeline`: inputs go where `device` says."""

    def __init__(self, device: Any = CPU) -> None:
        self.model = nn.Linear(8, 8)
        self.device = device

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x.to(self.device)).cpu()


class Slotted:
    __slots__ = ("device", "model")

    def __init__(self) -> None:
        self.model, self.device = nn.Linear(8, 8), CPU


@dataclasses.dataclass(frozen=True)
class Frozen:
    model: nn.Module
    device: torch.device = CPU


class Guarded(Wrapper):
    def __setattr__(self, name: str, value: object) -> None:
        if name == "device" and hasattr(self, "device"):
            raise TypeError("call .to() to move it")
        super().__setattr__(name, value)


class Settled(nn.Module):
    """A module that remembers, with a helper on it, as accelerate's hooks are."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self._device = "cpu"
        self.inner.hook = SimpleNamespace(execution_device=CPU, offload_device=CPU, next=SimpleNamespace(device="cpu"))


def mapped() -> Wrapper:
    wrapper = Wrapper()
    wrapper.hf_device_map = {"": "cpu", "head": CPU, "layers": "disk"}
    return wrapper


def nested() -> Any:
    return SimpleNamespace(engine=SimpleNamespace(parts=[Wrapper(), {"codec": Wrapper("cpu")}], device="cpu"))


def in_arguments() -> Wrapper:
    wrapper = Wrapper()
    wrapper.call_arguments = {"device": "cpu", "batch": 1, "where": CPU}
    return wrapper


Look = Callable[[Any], list[Any]]
SAY: dict[str, tuple[Callable[[], Any], Look]] = {
    "a plain attribute": (Wrapper, lambda m: [m.device]),
    "a text": (lambda: Wrapper("cpu"), lambda m: [m.device]),
    "a text with a number": (lambda: Wrapper("cpu:0"), lambda m: [m.device]),
    "slots": (Slotted, lambda m: [m.device]),
    "a frozen dataclass": (lambda: Frozen(nn.Linear(8, 8)), lambda m: [m.device]),
    "an object that refuses to be changed": (Guarded, lambda m: [m.device]),
    "a module and its hooks": (
        Settled, lambda m: [m._device, m.inner.hook.execution_device, m.inner.hook.next.device],
    ),
    "a device map": (mapped, lambda m: [m.device, m.hf_device_map[""], m.hf_device_map["head"]]),
    "keyword arguments": (in_arguments, lambda m: [m.call_arguments["device"], m.call_arguments["where"]]),
}  # fmt: skip


@pytest.mark.parametrize(("load", "look"), SAY.values(), ids=SAY)
def test_it_names_the_device_while_the_model_is_held(load: Callable[[], Any], look: Look) -> None:
    a = ResidencyManager("sim-strict:1GiB").register("a", load)
    before = look(load())
    for _ in range(3):
        with a.on_gpu() as model:
            assert [str(said) for said in look(model)] == [SIM] * len(before)
            assert [type(said) for said in look(model)] == [type(said) for said in before], "as it was named before"
        a.move_to(Residency.CPU)
        assert look(model) == before
    with a.on_gpu() as model:
        pass
    a.move_to(Residency.UNLOADED)
    assert look(model) == before


def test_it_names_the_device_in_objects_at_any_depth_that_hold_the_modules() -> None:
    def modules(app: Any) -> tuple[nn.Module, ...]:
        return app.engine.parts[0].model, app.engine.parts[1]["codec"].model

    a = ResidencyManager("sim-strict:1GiB").register("a", nested, modules=modules)
    with a.on_gpu() as model:
        engine = model.engine
        said = [engine.device, engine.parts[0].device, engine.parts[1]["codec"].device]
        assert [str(device) for device in said] == [SIM] * 3
    a.move_to(Residency.CPU)
    assert [engine.device, engine.parts[0].device, engine.parts[1]["codec"].device] == ["cpu", CPU, "cpu"]


@pytest.mark.parametrize("load", [Wrapper, lambda: Wrapper("cpu"), Guarded])
def test_inputs_from_the_cpu_go_where_the_weights_are(load: Callable[[], Any]) -> None:
    a, x = ResidencyManager("sim-strict:1GiB").register("a", load), torch.ones(2, 8)
    for _ in range(2):
        with a.on_gpu() as model:
            assert model(x).device == CPU
            with pytest.raises(RuntimeError, match="same device"):
                model.model(x)
        a.move_to(Residency.CPU)


def test_a_type_of_devices_has_no_number() -> None:
    a = ResidencyManager("sim-strict:1GiB").register("a", typed)
    with a.on_gpu() as model:
        assert (model.device_type, model.arguments["device_type"], model.device) == ("sim", "sim", SIM)
    a.move_to(Residency.CPU)
    assert model.device_type == "cpu"


def typed() -> Wrapper:
    wrapper = Wrapper("cpu")
    wrapper.device_type, wrapper.arguments = "cpu", {"device_type": "cpu"}
    return wrapper


class Node:
    def __init__(self, depth: int = 0) -> None:
        self.children = [Node(depth + 1) for _ in range(10)] if depth < 5 else []


def test_a_tree_of_a_hundred_thousand_words_beside_it_is_not_walked_at_each_wake() -> None:
    wrapper = Wrapper()
    wrapper.vocabulary = Node()
    wrapper.head = Settled()
    inventory = take_inventory(wrapper)
    with pytest.MonkeyPatch.context() as patch:
        looks: list[object] = []
        of = References.of
        patch.setattr(References, "of", lambda self, value: looks.append(value) or of(self, value))
        mentions = find_mentions(wrapper, inventory)
    assert len(looks) < 25_000
    assert {mention.path for mention in mentions} >= {"device"}


def beside() -> Wrapper:
    wrapper = Wrapper()
    wrapper.processor = SimpleNamespace(device=CPU, rate=16_000)
    wrapper.offload_device = wrapper.output_device = CPU
    wrapper.cpu_device, wrapper.name, wrapper.backend = CPU, "cpu", "cpu"
    wrapper.original_devices = {"model": CPU}
    return wrapper


def test_what_is_meant_to_stay_is_not_touched() -> None:
    a = ResidencyManager("sim-strict:1GiB").register("a", beside)
    with a.on_gpu() as model:
        assert str(model.device) == SIM
        assert model.processor.device == model.offload_device == model.output_device == model.cpu_device == CPU
        assert (model.name, model.backend, model.original_devices) == ("cpu", "cpu", {"model": CPU})


def test_what_was_written_while_it_was_awake_is_the_users() -> None:
    a = ResidencyManager("sim-strict:1GiB").register("a", Wrapper)
    with a.on_gpu() as model:
        model.device = other = torch.device("meta")
    a.move_to(Residency.CPU)
    assert model.device == other
    with a.on_gpu() as model:
        assert model.device == other
        model.device = CPU
    a.move_to(Residency.CPU)
    with a.on_gpu() as model:
        assert model.device == CPU, "it was put there on purpose"
        del model.device
    a.move_to(Residency.CPU)
    assert not hasattr(model, "device")


def test_what_is_added_is_seen_at_the_next_wake() -> None:
    a = ResidencyManager("sim-strict:1GiB").register("a", Wrapper)
    with a.on_gpu() as model:
        model.head = Settled()
    a.move_to(Residency.CPU)
    model.decoder_device = "cpu"
    with a.on_gpu() as model:
        assert str(model.head._device) == str(model.decoder_device) == SIM


def test_a_module_of_two_models_names_the_device_while_either_is_there() -> None:
    shared = Settled()
    manager = ResidencyManager("sim-strict:1GiB")
    a = manager.register("a", lambda: nn.Sequential(shared, nn.Linear(8, 8)))
    b = manager.register("b", lambda: nn.Sequential(shared, nn.Linear(8, 8)))
    with a.on_gpu(), b.on_gpu():
        pass
    a.move_to(Residency.CPU)
    with b.on_gpu():
        assert shared._device == SIM
        assert str(shared.inner.hook.execution_device) == SIM
    b.move_to(Residency.CPU)
    assert (shared._device, shared.inner.hook.execution_device) == ("cpu", CPU)


def test_a_warm_up_sees_it_and_a_failed_wake_takes_it_back() -> None:
    seen: list[str] = []

    def warm_up(model: Wrapper) -> None:
        seen.append(str(model.device))
        model(torch.ones(2, 8))
        raise ValueError("not today")

    wrapper = Wrapper()
    a = ResidencyManager("sim-strict:1GiB").register("a", lambda: wrapper, warm_up=warm_up)
    with pytest.raises(LoadFailed, match="not today"), a.on_gpu(timeout=5):
        pass
    assert set(seen) == {SIM}
    assert wrapper.device == CPU


def test_nothing_is_changed_where_the_device_is_the_cpu() -> None:
    a = ResidencyManager("sim:1GiB").register("a", mapped)
    with a.on_gpu() as model:
        assert (model.device, model.hf_device_map) == (CPU, {"": "cpu", "head": CPU, "layers": "disk"})
