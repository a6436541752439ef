"""What `load` may give, and what is said when it gives something else."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver import LoadFailed, ModelNotHeld
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn

from tests.modelserver.zoo import ZOO, X

from .using import held, on_gpu

Make = Callable[..., Weights[Any]]


def raises() -> nn.Module:
    raise FileNotFoundError("weights.bin")


def exits() -> nn.Module:
    sys.exit("no licence")


@pytest.mark.parametrize(
    ("load", "says"),
    [
        pytest.param(raises, "raised FileNotFoundError: weights.bin", id="raises"),
        pytest.param(exits, "raised SystemExit: no licence", id="calls sys.exit"),
        pytest.param(lambda: nn.Linear(2, 2, device="meta"), "'weight' and 1 more on a device", id="elsewhere"),
        pytest.param(lambda: nn.LazyLinear(2), "'weight' without a shape .UninitializedParameter", id="no shape"),
    ],
)
def test_what_can_not_be_moved_is_refused_by_name(make: Make, load: Callable[[], nn.Module], says: str) -> None:
    weights = make(load)
    with pytest.raises(LoadFailed, match=says):
        weights.load()
    assert (weights.residency, weights.host_bytes) == (Residency.UNLOADED, 0)


def test_a_load_that_fails_once_may_succeed_later(make: Make) -> None:
    attempts: list[int] = []

    def load() -> nn.Module:
        attempts.append(1)
        if len(attempts) == 1:
            raise ConnectionError("hub")
        return ZOO["linear"].load()  # type: ignore[no-any-return]

    weights = make(load)
    with pytest.raises(LoadFailed):
        weights.load()
    on_gpu(weights)


def test_other_weights_the_second_time_are_refused(make: Make) -> None:
    seeds = iter(range(10))

    def load() -> nn.Module:
        torch.manual_seed(next(seeds))
        return nn.Linear(8, 8)

    weights = on_gpu(make(load))
    weights.unload()
    with pytest.raises(LoadFailed, match="other weights than the first time"):
        weights.load()
    assert weights.residency is Residency.UNLOADED
    on_gpu(make(load, unload_changes="discard")).unload()


def test_a_reload_of_the_same_bytes_is_not_summed_tensor_by_tensor(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was summed as a whole already; once more would double the time that a reload takes."""
    weights = on_gpu(make(ZOO["linear"].load))
    weights.unload()

    def unwanted(*args: object) -> None:
        raise AssertionError("each tensor was summed")

    monkeypatch.setattr("dormouse_modelserver.engines.torch.sharing.bundle.fingerprint", unwanted)
    weights.load()
    assert weights.residency is Residency.CPU


def test_a_load_that_gives_the_same_object_again_is_refused_and_not_served_empty(make: Make) -> None:
    only = nn.Linear(8, 8)
    weights = on_gpu(make(lambda: only))
    weights.unload()
    with pytest.raises(LoadFailed, match=r"a module of before.*build it anew in each call"):
        weights.load()


@pytest.mark.parametrize("kind", ["linear", "pipeline", "weight norm", "shared twice", "hidden from torch"])
def test_use_while_nobody_holds_it_says_what_to_do(make: Make, kind: str) -> None:
    weights = make(ZOO[kind].load)
    weights.load()
    for move in (weights.restore, weights.offload):
        with pytest.raises(ModelNotHeld, match=r"inside `with residency\['tts'\].on_gpu\(\) as model:`"):
            ZOO[kind].answer(weights.model)
        move()


def test_a_part_of_the_model_is_guarded_too(make: Make) -> None:
    weights = on_gpu(make(ZOO["pipeline"].load))
    with held(weights) as pipeline:
        part = pipeline.decoder[2]
        part(X)
    with pytest.raises(ModelNotHeld, match="Linear of model 'tts'"):
        part(X)


def test_an_object_of_before_an_unload_is_shut_for_good(make: Make) -> None:
    weights = on_gpu(make(ZOO["linear"].load))
    old = weights.model
    weights.unload()
    on_gpu(weights)
    with held(weights) as new:
        assert new is not old
        with pytest.raises(ModelNotHeld, match="take `model` anew each time"):
            old(X)


def test_a_module_added_while_it_runs_is_guarded_from_the_next_move_on(make: Make) -> None:
    weights = on_gpu(make(ZOO["pipeline"].load))
    with held(weights) as pipeline:
        pipeline.later = nn.Linear(8, 8)
    weights.offload()
    weights.restore()
    with pytest.raises(ModelNotHeld):
        weights.model.later(X)


def test_a_copy_of_a_module_is_the_users_own(make: Make) -> None:
    import copy

    weights = on_gpu(make(ZOO["linear"].load))
    with held(weights) as model:
        mine, expected = copy.deepcopy(model), model(X)
    weights.offload()
    assert torch.equal(mine(X), expected)
