"""What is measured is what happened: a slow link makes a restore slow, a model that came back wrong is found."""

from pathlib import Path

import pytest
import torch
from dormouse_modelserver import Safetensors
from dormouse_modelserver.engines.torch.sim.device import SimDevice

from benchmarks.engine.cases import parse
from benchmarks.engine.one_case import measure
from benchmarks.engine.rounds import OtherAnswer
from benchmarks.engine.samples import Samples
from benchmarks.engine.stack import build_on_meta, write_weights
from benchmarks.engine.subject import Subject

BYTES_PER_SECOND = 20e6


@pytest.mark.parametrize("name", ["1MB-10", "4MB-10"])
def test_a_restore_takes_as_long_as_the_link_for_its_bytes(name: str, tmp_path: Path) -> None:
    case, device, steps = parse(name), SimDevice("sim", 16 << 20), list[str]()
    device.throttle_bytes_per_second = BYTES_PER_SECOND
    write_weights(case, tmp_path / "weights")
    figures = measure(case, device, 1, tmp_path / "weights", steps.append)
    assert figures["restore_seconds_min"] >= case.nbytes / BYTES_PER_SECOND  # type: ignore[operator]
    assert figures["wake_seconds_min"] >= figures["restore_seconds_min"]  # type: ignore[operator]
    assert device.memory().used == 0
    assert steps[-1] == "load_file, .to(device), .to(cpu): 1 of 1"


def test_a_frozen_model_that_came_back_wrong_gives_no_figures(tmp_path: Path) -> None:
    """Nothing else would notice: a frozen model has no check."""
    case, device = parse("1MB-10-frozen"), SimDevice("sim", 16 << 20)
    write_weights(case, tmp_path / "weights")
    device.faults.corrupt_copy_in_at_byte = 3
    with pytest.raises(OtherAnswer):
        measure(case, device, 1, tmp_path / "weights", lambda step: None)


def test_a_restore_of_changed_weights_shows_the_bytes_copied(tmp_path: Path) -> None:
    case, device = parse("1MB-10"), SimDevice("sim", 16 << 20)
    write_weights(case, tmp_path / "weights")
    subject = Subject(case, Safetensors(lambda: build_on_meta(case), tmp_path / "weights"), device, Samples())
    subject.reload()
    subject.restore()
    with torch.no_grad():
        next(subject._weights.model.parameters()).mul_(2)
    subject.offload()
    assert subject.most_bytes_copied >= case.nbytes
