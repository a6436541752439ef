"""Nothing piles up: two hundred times round the device's account and the process's memory are where they were."""

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from dormouse_modelserver import IntegrityError
from dormouse_modelserver.engines.torch.checks.gate import gates_of
from dormouse_modelserver.engines.torch.sim.device import SimDevice, SimFaults
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn

from tests.modelserver.zoo import seeded

from .sharing_models import Family
from .using import held, on_gpu

Make = Callable[..., Weights[Any]]
# 2 MiB of weights: a leak of one arena per cycle would be 400 MiB (80 for the shorter ones).
load = seeded(lambda: nn.Linear(512, 1024, bias=False))
_MAY_GROW_BYTES = 40 << 20


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def grows_by(cycle: Callable[[], None], times: int = 200) -> int:
    for _ in range(10):
        cycle()
    before = resident_bytes()
    for _ in range(times):
        cycle()
    return resident_bytes() - before


def test_two_hundred_times_to_host_ram_and_back(make: Make, device: SimDevice) -> None:
    weights = on_gpu(make(load))
    used = device.memory().used

    def cycle() -> None:
        weights.offload()
        weights.restore()

    assert grows_by(cycle) < _MAY_GROW_BYTES
    assert device.memory().used == used


def test_a_hundred_times_with_changed_and_replaced_weights(make: Make, device: SimDevice) -> None:
    weights = on_gpu(make(load))
    used = device.memory().used

    def cycle() -> None:
        with held(weights) as model:
            model.weight.data[0] += 1
            model.weight.data = model.weight.data.clone()
        weights.offload()
        weights.restore()

    assert grows_by(cycle, 100) < _MAY_GROW_BYTES
    assert device.memory().used == used


@pytest.mark.parametrize("mirror", ["drop", "auto"])
def test_two_hundred_times_without_a_mirror_in_between(make: Make, device: SimDevice, mirror: str) -> None:
    weights = make(load, mirror=mirror)
    weights.wake()
    used = device.memory().used
    asleep: set[int] = set()

    def cycle() -> None:
        weights.offload()
        asleep.add(weights.host_bytes)
        weights.restore()
        weights._loaded.own.give_up_mirror()  # type: ignore[union-attr]
        assert weights.host_bytes == 0

    assert grows_by(cycle) < _MAY_GROW_BYTES
    assert (device.memory().used, asleep) == (used, {used})


def test_two_hundred_times_with_a_part_that_two_models_share(device: SimDevice) -> None:
    family = Family(device)
    family.a.wake()
    family.b.wake()
    everywhere: set[int] = set()

    def cycle() -> None:
        for weights in (family.a, family.b):
            weights.offload()
        everywhere.add(family.a.host_bytes + family.b.host_bytes)
        for weights in (family.b, family.a):
            weights.restore()

    assert grows_by(cycle) < _MAY_GROW_BYTES
    assert len(everywhere) == 1, "the bytes of the mirrors"
    used = device.memory().used
    cycle()
    assert device.memory().used == used


def test_forty_unloads_of_one_while_the_other_stays(device: SimDevice) -> None:
    family = Family(device)
    family.a.wake()
    encoder = family.a.model.encoder
    gates: set[int] = set()

    def cycle() -> None:
        family.b.wake()
        family.b.unload()
        gates.add(len([*gates_of(encoder)]))

    assert grows_by(cycle, 40) < _MAY_GROW_BYTES
    assert gates == {1}
    assert family.right(family.a, "a")


def test_forty_loads_and_unloads(make: Make, device: SimDevice) -> None:
    weights = make(load)

    def cycle() -> None:
        on_gpu(weights).unload()

    assert grows_by(cycle, 40) < _MAY_GROW_BYTES
    assert device.memory().used == 0


def test_two_hundred_failed_restores(make: Make, device: SimDevice) -> None:
    weights = make(load)
    weights.load()
    device.faults.corrupt_copy_in_at_byte = 12345

    def cycle() -> None:
        try:
            weights.restore()
        except IntegrityError:
            return
        raise AssertionError("it was not noticed")

    assert grows_by(cycle) < _MAY_GROW_BYTES
    assert device.memory().used == 0
    device.faults = SimFaults()
    weights.restore()
    assert torch.isfinite(weights.model.weight).all()
