"""Estimates come from what was measured on this device, of whichever model."""

from collections.abc import Callable
from typing import Any

import pytest
from dormouse_modelserver.engines.torch.pace import Pace, Path
from dormouse_modelserver.engines.torch.process import TorchProcess
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights
from dormouse_modelserver.errors import WakeTimeout
from torch import nn

from tests.modelserver.lifecycle.conftest import manage  # noqa: F401 - a fixture
from tests.modelserver.zoo import seeded

from .using import on_gpu, weights_on

MIB = 1 << 20
_LARGE = seeded(lambda: nn.Linear(1024, 1024))


def test_nothing_is_promised_before_anything_was_measured() -> None:
    assert Pace().seconds(Path.RESTORE, MIB) is None


def test_a_new_measurement_counts_as_much_as_all_before() -> None:
    pace = Pace()
    pace.measured(Path.RESTORE, 100 * MIB, 1.0)
    pace.measured(Path.RESTORE, 300 * MIB, 1.0)
    assert pace.seconds(Path.RESTORE, 200 * MIB) == pytest.approx(1.0)


@pytest.mark.parametrize("nbytes", [0, 512], ids=["no bytes", "few bytes"])
def test_a_measurement_of_next_to_nothing_does_not_spoil_the_others(nbytes: int) -> None:
    pace = Pace()
    pace.measured(Path.RESTORE, nbytes, 0.5)
    pace.measured(Path.RESTORE, 100 * MIB, 1.0)
    pace.measured(Path.RESTORE, nbytes, 0.5)
    assert pace.seconds(Path.RESTORE, 100 * MIB) == pytest.approx(1.0)


def test_a_model_that_was_never_restored_is_estimated_once_another_was(device: SimDevice) -> None:
    engine = TorchProcess(device)
    other = weights_on(device, _LARGE, name="other", engine=engine)
    weights = weights_on(device, seeded(lambda: nn.Linear(1024, 2048)), engine=engine)
    weights.load()
    assert weights.estimate_seconds() is None
    on_gpu(other)
    estimate, speed = weights.estimate_seconds(), other.speed.restore_seconds
    assert estimate is not None
    assert speed is not None
    assert 0 < estimate < 100 * speed


def test_a_model_without_weights_says_nothing_of_speed(device: SimDevice) -> None:
    engine = TorchProcess(device)
    on_gpu(weights_on(device, lambda: nn.ReLU(), name="none", engine=engine))
    weights: Weights[Any] = weights_on(device, _LARGE, engine=engine)
    weights.load()
    assert weights.estimate_seconds() is None


def test_retry_after_follows_the_estimate(manage: Callable[..., Any]) -> None:  # noqa: F811
    manager = manage("sim:64MiB")
    other, slow = manager.register("other", load=_LARGE), manager.register("slow", load=_LARGE)
    with other.on_gpu():
        pass
    assert slow.snapshot().restore_estimate_seconds is None
    manager._process.pace._rates.update({Path.RESTORE: MIB / 2, Path.VERIFY: 1e12})
    slow._weights.load()
    slow._slot._state.residency = slow._weights.residency
    manager.device.throttle_bytes_per_second = 4 * MIB
    assert slow.snapshot().restore_estimate_seconds == pytest.approx(8.0, rel=0.05)
    with pytest.raises(WakeTimeout) as late:
        slow.on_gpu(timeout=0.05).__enter__()
    assert 7 < late.value.retry_after_seconds < 8.1
