"""What may be done with a model that nobody holds, and what a copy of it takes along."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver import ModelNotHeld
from dormouse_modelserver.engines.torch.checks.gate import gates_of
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn

from tests.modelserver.zoo import ZOO, X, seeded

from .using import held, on_gpu

Make = Callable[..., Weights[Any]]
load = seeded(lambda: nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)))


@pytest.mark.parametrize("tier", [Residency.GPU, Residency.CPU])
@pytest.mark.parametrize("part", [None, 0], ids=["whole", "part"])
def test_the_state_of_a_model_that_nobody_holds_is_not_to_be_had(make: Make, tier: Residency, part: int | None) -> None:
    weights = on_gpu(make(load))
    if tier is Residency.CPU:
        weights.offload()
    module = weights.model if part is None else weights.model[part]
    with pytest.raises(ModelNotHeld):
        module.state_dict()


def test_the_state_of_a_held_model_is_the_loaded_one(make: Make) -> None:
    weights, twin = on_gpu(make(load)), load().state_dict()
    with held(weights) as model:
        state = model.state_dict()
    assert list(state) == list(twin)
    assert all(torch.equal(state[name], twin[name]) for name in twin)


def deep(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model)


def pickled(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)  # type: ignore[no-any-return]


@pytest.mark.parametrize("copied", [deep, pickled])
def test_a_copy_is_the_users_own_and_nothing_guards_it(make: Make, copied: Callable[[nn.Module], nn.Module]) -> None:
    weights = on_gpu(make(load))
    with held(weights) as model:
        mine, right = copied(model), model(X)
    weights.offload()
    assert torch.equal(mine(X), right)
    assert mine.state_dict().keys() == load().state_dict().keys()
    assert not any(list(gates_of(module)) for module in mine.modules())
    other = on_gpu(make(lambda: mine))
    with held(other) as model:
        assert torch.equal(model(X), right)


def test_a_model_that_was_unloaded_has_shut_for_good_also_for_its_state(make: Make) -> None:
    weights = on_gpu(make(load))
    old = weights.model
    weights.unload()
    on_gpu(weights)
    with held(weights), pytest.raises(ModelNotHeld):
        old.state_dict()


def test_a_held_module_looks_as_if_it_had_no_hooks_so_that_torch_takes_its_fast_path(make: Make) -> None:
    weights = on_gpu(make(ZOO["linear"].load))
    with held(weights) as model:
        assert not model._forward_pre_hooks
        assert len(model._forward_pre_hooks) == 0
    assert weights.model._forward_pre_hooks
    assert [hook for _, hook in weights.model._forward_pre_hooks.items()] == [weights.gate]


def test_a_hook_of_the_users_own_is_called_while_it_is_held_and_can_be_removed(make: Make) -> None:
    weights = on_gpu(make(ZOO["linear"].load))
    seen: list[object] = []
    with held(weights) as model:
        handle = model.register_forward_pre_hook(lambda module, args: seen.append(args))
        ZOO["linear"].answer(model)
        assert len(seen) == 1
        handle.remove()
        ZOO["linear"].answer(model)
    assert len(seen) == 1
    with pytest.raises(ModelNotHeld):
        ZOO["linear"].answer(weights.model)


def layer() -> nn.Module:
    return nn.Linear(8, 8)


def sequence() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU())


def fused() -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.rest = layer(), sequence()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.rest(self.first(x)))


def in_place(module: nn.Module) -> nn.Module:
    module.compile(backend="eager")
    return module


def its_parts(module: nn.Module) -> nn.Module:
    for child in module.children():
        child.compile(backend="eager")
    return module


def wrapped(module: nn.Module) -> nn.Module:
    return torch.compile(module, backend="eager")  # type: ignore[return-value]


@pytest.mark.parametrize("compiled", [in_place, its_parts, wrapped])
@pytest.mark.parametrize("build", [layer, sequence, fused, Own])
def test_a_compiled_module_answers_as_ever_and_is_guarded(
    make: Make, build: Callable[[], nn.Module], compiled: Callable[[nn.Module], nn.Module]
) -> None:
    x = torch.ones(1, 2, 8)
    weights, twin = make(lambda: compiled(seeded(build)())), seeded(build)()
    for _ in range(3):
        on_gpu(weights)
        with held(weights) as model, torch.no_grad():
            assert torch.equal(model(x), twin(x))
        with pytest.raises(ModelNotHeld):
            weights.model(x)
        weights.offload()
        with pytest.raises(ModelNotHeld):
            weights.model(x)


def test_a_module_that_is_compiled_while_it_is_held_answers_as_ever(make: Make) -> None:
    weights, twin = on_gpu(make(seeded(layer))), seeded(layer)()
    with held(weights) as model, torch.no_grad():
        in_place(model)
        assert torch.equal(model(X), twin(X))
    weights.offload()
    with pytest.raises(ModelNotHeld):
        weights.model(X)
    on_gpu(weights)
    with held(weights) as model, torch.no_grad():
        assert torch.equal(model(X), twin(X))
