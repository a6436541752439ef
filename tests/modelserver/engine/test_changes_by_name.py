"""A model that can't be unloaded says which of its tensors have changed, and how."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from dormouse_modelserver import ModelChanged
from dormouse_modelserver.engines.torch.layout.changes import changes_between, in_short
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn

from tests.modelserver.zoo import ZOO, seeded

from .using import held, on_gpu

Make = Callable[..., Weights[Any]]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)
        self.register_buffer("rope", torch.zeros(8), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.norm(self.linear(x)))


def grows(model: Any) -> None:
    model.rope = torch.zeros(16)


def counts(model: Any) -> None:
    model.norm.num_batches_tracked += 1


def is_added(model: Any) -> None:
    model.linear.lora = nn.Parameter(torch.ones(8))


def is_removed(model: Any) -> None:
    model.linear.bias = None


def is_transposed(model: Any) -> None:
    model.linear.weight.data = model.linear.weight.data.t()


CHANGES = {
    "a buffer that grows": (grows, r"'rope' (shape [8] → [16])"),
    "a counter": (counts, "'norm.num_batches_tracked' (other values)"),
    "one added": (is_added, "'linear.lora' (added)"),
    "one removed": (is_removed, "'linear.bias' (removed)"),
    "other strides": (is_transposed, "'linear.weight' (strides)"),
}


@pytest.mark.parametrize("asleep", [False, True], ids=["awake", "asleep"])
@pytest.mark.parametrize(("change", "says"), CHANGES.values(), ids=CHANGES.keys())
def test_an_unload_is_refused_with_the_name_and_the_way(
    make: Make, caplog: pytest.LogCaptureFixture, change: Callable[[Any], None], says: str, asleep: bool
) -> None:
    weights = on_gpu(make(seeded(Net)))
    with held(weights) as model:
        change(model)
    if asleep:
        weights.offload()
        assert weights.changed == says
        assert [record for record in caplog.records if says in record.getMessage()]
    with pytest.raises(ModelChanged) as refused:
        weights.unload()
    assert f"differ from what load gives: {says}. Unloading" in str(refused.value)
    assert weights.changed == says


def test_one_that_can_not_be_packed_is_named_too(make: Make) -> None:
    weights = on_gpu(make(ZOO["sparse COO"].load))
    with held(weights) as model:
        model.weight.detach()._values().mul_(2)
    with pytest.raises(ModelChanged, match=r"'weight' \(other values\)"):
        weights.unload()


def test_many_are_the_first_three_and_a_number(make: Make) -> None:
    weights = on_gpu(make(lambda: nn.Sequential(*(nn.Linear(8, 8) for _ in range(5)))))
    with held(weights) as model, torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    with pytest.raises(ModelChanged, match=r"'0.weight' .*'0.bias' .*'1.weight' \(other values\) and 7 more\."):
        weights.unload()


def test_what_was_taken_back_is_no_longer_named(make: Make) -> None:
    weights = on_gpu(make(seeded(Net)))
    for add, expected in ((1, CHANGES["a counter"][1]), (-1, "")):
        with held(weights) as model:
            model.norm.num_batches_tracked += add
        weights.offload()
        assert weights.changed == expected
        weights.restore()
    weights.unload()


def test_it_is_said_in_the_log_once_and_not_at_each_demotion(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    weights = on_gpu(make(seeded(Net)))
    for _ in range(3):
        with held(weights) as model:
            model.norm.num_batches_tracked += 1
        weights.offload()
        weights.restore()
    assert len([record for record in caplog.records if "changed since its load" in record.getMessage()]) == 1


def test_of_what_is_to_be_dropped_nothing_is_said(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    weights = on_gpu(make(seeded(Net), unload_changes="discard"))
    with held(weights) as model:
        grows(model)
    weights.offload()
    weights.unload()
    assert not [record for record in caplog.records if "changed since" in record.getMessage()]


@pytest.mark.parametrize(
    ("after", "says"),
    [
        pytest.param((torch.float32, 0, (8,), (1,), 1), "", id="the same"),
        pytest.param((torch.float32, 0, (8,), (1,), 2), "'a' (other values)", id="values"),
        pytest.param((torch.float32, 0, (8,), (2,), 1), "'a' (strides)", id="strides"),
        pytest.param((torch.float32, 4, (8,), (1,), 1), "'a' (other bytes shared)", id="place"),
        pytest.param((torch.float16, 0, (4,), (1,), 2), "'a' (float32 → float16)", id="dtype first"),
    ],
)
def test_the_way_of_a_change(after: tuple[object, ...], says: str) -> None:
    assert in_short(changes_between({"a": (torch.float32, 0, (8,), (1,), 1)}, {"a": after})) == says
