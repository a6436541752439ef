"""Real libraries on a device that refuses to mix: they sleep and wake 200 times, and answer as without Dormouse."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from dormouse_modelserver import Residency, ResidencyManager
from dormouse_modelserver.engines.torch.layout.said_devices import SaidDevices

from .tiny import SAMPLES, Sample, seeded

# What the libraries say of each other's versions is not ours.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The models are so small that threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def same(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_nothing_is_mixed_and_nothing_is_wrong(sample: Sample) -> None:
    right = sample.ask(seeded(sample.load))
    manager = ResidencyManager("sim-strict:1GiB")
    model = manager.register("a", lambda: seeded(sample.load))
    wrong = 0
    for _ in range(sample.cycles):
        with model.on_gpu() as awake:
            wrong += not same(sample.ask(awake), right)
        model.move_to(Residency.CPU)
    assert wrong == 0
    assert manager.device.memory().used == 0


@pytest.mark.parametrize("name", ["transformers text-classification", "accelerate hooks"])
def test_the_device_shows_it_when_a_model_says_the_wrong_place(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SaidDevices, "say", lambda *_: ())
    sample = SAMPLES[name]
    model = ResidencyManager("sim-strict:1GiB").register("a", lambda: seeded(sample.load))
    with model.on_gpu() as awake, pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        sample.ask(awake)
