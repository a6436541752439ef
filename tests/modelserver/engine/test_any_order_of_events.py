"""Whatever happens in whatever order: two models that share a part answer, bit for bit, as twins never moved."""

from typing import Any

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver import DormouseError, ModelChanged
from dormouse_modelserver.engines.torch.process import TorchProcess
from dormouse_modelserver.engines.torch.sim.device import SimDevice, SimFaults
from dormouse_modelserver.engines.torch.weights import Weights
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from torch import nn

from .sharing_models import Cache, Part, answer_of
from .using import held, weights_on

_EXAMPLES, _STEPS = 200, 30
_FAULTS = [
    SimFaults(full_at_byte=100),
    SimFaults(fail_copy_in_at_byte=0),
    SimFaults(fail_copy_in_at_byte=700),
    SimFaults(corrupt_copy_in_at_byte=3),
    SimFaults(corrupt_copy_in_at_byte=400),
    SimFaults(corrupt_copy_out_at_byte=1),
    SimFaults(fail_copy_out=True),
]
names = st.sampled_from("ab")
shares = st.sampled_from(["encoder", "head"])


def _in_place(layer: nn.Linear, value: float) -> None:
    with torch.no_grad():
        layer.weight.mul_(value)


def _behind_its_back(layer: nn.Linear, value: float) -> None:
    layer.weight.data[0] += value


def _swapped_rows(layer: nn.Linear, value: float) -> None:
    layer.weight.data[[0, 1]] = layer.weight.data[[1, 0]]


def _through_numpy(layer: nn.Linear, value: float) -> None:
    layer.bias.detach().numpy()[0] = value


def _other_data(layer: nn.Linear, value: float) -> None:
    layer.weight.data = layer.weight.data.clone() + value


def _other_parameter(layer: nn.Linear, value: float) -> None:
    layer.weight = nn.Parameter(layer.weight.detach() * value)


def _new_buffer(layer: nn.Linear, value: float) -> None:
    layer.register_buffer("extra", torch.full((4,), value))


def _sparse(layer: nn.Linear, value: float) -> None:
    layer.register_buffer("mask", (torch.eye(4) * value).to_sparse())


def _same_bytes(layer: nn.Linear, value: float) -> None:
    """A buffer that shares the bytes of the weight: what is written to one is in the other, also after a sleep."""
    layer.register_buffer("view", layer.weight.detach())


_WRITES = [
    _in_place, _behind_its_back, _swapped_rows, _through_numpy, _other_data, _other_parameter, _new_buffer, _sparse,
    _same_bytes,
]  # fmt: skip


def _parameter_anew(layer: nn.Linear, value: float) -> None:
    layer.weight = nn.Parameter(torch.full(layer.weight.shape, value))


def _parameter_swapped(layer: nn.Linear, value: float) -> None:
    torch.utils.swap_tensors(layer.weight, nn.Parameter(torch.full(layer.weight.shape, value)))


def _past_the_refusal(layer: nn.Linear, value: float) -> None:
    shape = layer.bias.shape
    with torch._C.DisableTorchFunctionSubclass():
        layer.bias.data = torch.full(shape, value)


# What can be done to a model that sleeps.
_TOUCHES = [_parameter_anew, _parameter_swapped, _past_the_refusal, _new_buffer, _sparse]


class AnyOrder(RuleBasedStateMachine):
    """The twins are made by the same loads and get the same writes; nobody ever moves them."""

    def __init__(self) -> None:
        super().__init__()
        self.device = SimDevice("sim", 1 << 20)
        self.touched = False

    @initialize(mirror=st.sampled_from(["auto", "keep", "drop"]))
    def register(self, mirror: str) -> None:
        engine = TorchProcess(self.device)
        self.cache, twin_cache = Cache(), Cache()
        self.models: dict[str, Weights[Any]] = {}
        self.twins: dict[str, Part] = {}
        self.loaded = {name: self._loader(Cache(), head)() for name, head in (("a", 3), ("b", 5))}
        for name, head in (("a", 3), ("b", 5)):
            self.models[name] = weights_on(
                self.device, self._loader(self.cache, head), name=name, engine=engine, mirror=mirror
            )
            self.twins[name] = self._loader(twin_cache, head)()

    @staticmethod
    def _loader(cache: Cache, head: int) -> Any:
        return lambda: Part(cache.encoder(), head).eval()

    def differs(self, name: str, part: str) -> bool:
        """Whether the twin is other than it was loaded; a change may have been taken back."""
        now, then = (getattr(models[name], part).state_dict() for models in (self.twins, self.loaded))
        return now.keys() != then.keys() or not all(torch.equal(now[key], then[key]) for key in now)

    @rule(name=names)
    def load(self, name: str) -> None:
        if self.models[name].residency is Residency.UNLOADED:
            self.models[name].load()

    @rule(name=names)
    def wake(self, name: str) -> None:
        if self.models[name].residency is not Residency.GPU:
            self.models[name].wake()

    @rule(name=names)
    def offload(self, name: str) -> None:
        if self.models[name].residency is Residency.GPU:
            self.models[name].offload()

    @rule(name=names)
    def unload(self, name: str) -> None:
        """Refused exactly when something would be lost: its own change, or that of a part which nobody else has."""
        weights, other = self.models[name], self.models["b" if name == "a" else "a"]
        if weights.residency is Residency.UNLOADED:
            return
        last = other.residency is Residency.UNLOADED
        lossy = self.differs(name, "head") or (last and self.differs(name, "encoder"))
        was = weights.residency
        try:
            weights.unload()
        except ModelChanged:
            # Of a part that was touched asleep it is not always known that another model has it as well.
            assert lossy or self.touched, "refused, and nothing would be lost"
            assert weights.residency is was
        else:
            assert not lossy, "unloaded, and a change is lost"

    @rule(name=names, fault=st.sampled_from(_FAULTS), move=st.sampled_from(["wake", "offload"]))
    def fail(self, name: str, fault: SimFaults, move: str) -> None:
        weights = self.models[name]
        before, used = weights.residency, self.device.memory().used
        if (before is Residency.GPU) == (move == "wake"):
            return
        self.device.faults = fault
        try:
            getattr(weights, move)()
        except ModelChanged:
            raise
        except DormouseError:
            assert weights.residency in (before, Residency.CPU)
            assert self.device.memory().used == used, "the memory is where it was"
        finally:
            self.device.faults = SimFaults()

    @rule(name=names, part=shares, write=st.sampled_from(_WRITES), value=st.sampled_from([0.5, 2.0, 3.0]))
    def write(self, name: str, part: str, write: Any, value: float) -> None:
        weights = self.models[name]
        if weights.residency is not Residency.GPU:
            return
        if write is _sparse and part == "encoder":
            return  # what can't be packed can't be shared
        with held(weights) as model:
            write(getattr(model, part), value)
        write(getattr(self.twins[name], part), value)

    @rule(name=names, part=shares, touch=st.sampled_from(_TOUCHES), value=st.sampled_from([0.5, 2.0, 3.0]))
    def touch_asleep(self, name: str, part: str, touch: Any, value: float) -> None:
        weights = self.models[name]
        if weights.residency is not Residency.CPU or (touch is _sparse and part == "encoder"):
            return
        self.touched = self.touched or part == "encoder"
        touch(getattr(weights.model, part), value)
        touch(getattr(self.twins[name], part), value)

    @invariant()
    def every_model_that_is_awake_answers_as_its_twin(self) -> None:
        for name, weights in getattr(self, "models", {}).items():
            if weights.residency is Residency.GPU:
                with held(weights) as model:
                    assert torch.equal(answer_of(model), answer_of(self.twins[name])), name
                    assert _extras(model) == _extras(self.twins[name])

    @invariant()
    def the_account_is_exact(self) -> None:
        models = getattr(self, "models", {}).values()
        loaded = [weights._loaded for weights in models if weights._loaded is not None]
        bundles = {bundle for one in loaded for bundle in one.bundles}
        apart = sum(one.nbytes for each in loaded for one in each.apart if one._sent is not None)
        assert self.device.memory().used == sum(bundle.device_bytes for bundle in bundles) + apart
        if not any(weights.residency is Residency.GPU for weights in models):
            assert self.device.memory().used == 0

    def teardown(self) -> None:
        """In the end all wake once more and are right; and nothing is left when they are gone."""
        for name, weights in getattr(self, "models", {}).items():
            if weights.residency is Residency.UNLOADED:
                assert not self.differs(name, "head")
            if weights.residency is not Residency.GPU:
                weights.wake()
        self.every_model_that_is_awake_answers_as_its_twin()
        for weights in getattr(self, "models", {}).values():
            weights.offload()
        assert self.device.memory().used == 0


def _extras(model: Part) -> list[list[float]]:
    layers = [model.encoder, model.head]
    return [
        getattr(layer, name).to_dense().flatten().tolist()
        for layer in layers
        for name in ("extra", "mask", "view")
        if hasattr(layer, name)
    ]


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=_EXAMPLES,
    stateful_step_count=_STEPS,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestAnyOrder.pytestmark = [pytest.mark.timeout(300)]  # type: ignore[attr-defined]
