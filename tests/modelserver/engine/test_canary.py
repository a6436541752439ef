"""A canary is asked after each wake: another answer, or none, and nobody is let in."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver import ConfigurationError, IntegrityError, LoadFailed, ResidencyManager
from dormouse_modelserver.engines.torch.checks.canary import checked, digest
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn

from tests.modelserver.zoo import X, seeded

Make = Callable[..., Weights[Any]]
load = seeded(lambda: nn.Linear(8, 8))


def right() -> str:
    with torch.inference_mode():
        return digest(load()(X))


class Moody(nn.Linear):
    """Answers as a broken kernel or a cache that was not restored would."""

    mood = "good"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if Moody.mood == "raising":
            raise RuntimeError("illegal instruction")
        return super().forward(x) + (Moody.mood == "wrong")


@pytest.fixture(autouse=True)
def _good_mood() -> None:
    Moody.mood = "good"


load_moody = seeded(lambda: Moody(8, 8))


@pytest.mark.parametrize(
    "canary",
    [
        pytest.param((X, None), id="first answer is right"),
        pytest.param((X, right()), id="digest"),
        pytest.param((lambda model: model(X), right()), id="function of the model"),
    ],
)
@pytest.mark.parametrize("mirror", ["keep", "drop"])
def test_the_right_answer_lets_everybody_in(make: Make, canary: tuple[Any, Any], mirror: str) -> None:
    weights = make(load, canary=canary, mirror=mirror)
    for _ in range(3):
        weights.wake()
        weights.offload()
    weights.unload()
    weights.wake()
    assert not weights.gate.open


@pytest.mark.parametrize(("mood", "error"), [("wrong", IntegrityError), ("raising", LoadFailed)])
@pytest.mark.parametrize("mirror", ["keep", "drop"])
def test_another_answer_is_rolled_back_and_the_next_wake_works_once_it_is_right(
    make: Make, device: SimDevice, mood: str, error: type[Exception], mirror: str
) -> None:
    weights = make(load_moody, canary=(X, right()), mirror=mirror)
    weights.wake()
    weights.offload()
    Moody.mood = mood
    for _ in range(2):
        with pytest.raises(error, match="canary"):
            weights.wake()
        assert (weights.residency, device.memory().used, weights.gate.open) == (Residency.CPU, 0, False)
    Moody.mood = "good"
    weights.wake()
    assert weights.residency is Residency.GPU


@pytest.mark.parametrize("mirror", ["keep", "drop"])
def test_a_first_wake_whose_canary_is_wrong_keeps_nothing(make: Make, device: SimDevice, mirror: str) -> None:
    Moody.mood = "wrong"
    weights = make(load_moody, canary=(X, right()), mirror=mirror)
    with pytest.raises(IntegrityError, match="differently than it should"):
        weights.wake()
    assert (weights.residency, weights.host_bytes, device.memory().used) == (Residency.UNLOADED, 0, 0)
    Moody.mood = "good"
    weights.wake()


def test_nobody_is_let_in_before_it_passed(make: Make) -> None:
    weights: Weights[Any] = make(load, canary=(lambda model: seen.append(weights.residency) or model(X), None))
    seen: list[Residency] = []
    weights.wake()
    weights.offload()
    weights.restore()
    assert seen == [Residency.CPU, Residency.CPU], "it is not on the GPU for anybody yet"


def test_the_users_who_wait_are_told_why_and_the_next_is_served() -> None:
    manager = ResidencyManager("sim:1MiB", socket="")
    model = manager.register("moody", load=load_moody, canary=(X, right()))
    Moody.mood = "wrong"
    with pytest.raises(IntegrityError), model.on_gpu(timeout=10):
        raise AssertionError("let in")
    Moody.mood = "good"
    with model.on_gpu(timeout=10) as held:
        assert digest(held(X).detach()) == right()
    manager.close()


@pytest.mark.parametrize(
    "canary", ["text", (X,), (X, 5), [X, None], (X, None, 1)], ids=["text", "alone", "number", "list", "three"]
)
def test_a_malformed_one_is_refused_with_how_to_write_it(canary: object) -> None:
    with pytest.raises(ConfigurationError, match=r"write \(input, digest\)"):
        checked(canary, "tts")


def test_an_answer_without_a_digest_is_named(make: Make) -> None:
    weights = make(load, canary=(lambda model: object(), None))
    with pytest.raises(LoadFailed, match="has no digest"):
        weights.wake()
    assert weights.residency is Residency.UNLOADED


def test_digests_differ_by_value_dtype_shape_and_structure() -> None:
    answers = [
        torch.zeros(4), torch.zeros(4).half(), torch.zeros(2, 2), [torch.zeros(4)], {"a": torch.zeros(4)},
        {"b": torch.zeros(4)}, torch.ones(4), "0", 0, 0.0, None, b"0", True, [], [[]], torch.tensor([1j, 2]),
        torch.tensor([1j, 2]).conj(),
    ]  # fmt: skip
    assert len({digest(answer) for answer in answers}) == len(answers)
