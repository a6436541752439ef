"""The mirror: kept, dropped, or kept as long as host RAM allows; and host RAM is never promised twice."""

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver import HostFull
from dormouse_modelserver.engines.torch.process import TorchProcess
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights
from dormouse_modelserver.lifecycle.room.host_budget import HostBudget
from dormouse_modelserver.lifecycle.room.host_memory import HostMemory
from torch import nn

from tests.modelserver.zoo import X, seeded

from .using import held, weights_on

load = seeded(lambda: nn.Sequential(nn.Linear(8, 2048, bias=False), nn.Linear(2048, 8, bias=False)))
_NBYTES = 2 * 8 * 2048 * 4


class Host:
    """Host RAM of which the mirrors of some models are all that is used."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.models: list[Weights[Any]] = []

    def read(self) -> HostMemory:
        return HostMemory(self.nbytes, self.nbytes - sum(weights.host_bytes for weights in self.models))


@pytest.fixture
def host() -> Host:
    return Host(1 << 30)


@pytest.fixture
def make_on(device: SimDevice, host: Host) -> Callable[..., Weights[Any]]:
    engine = TorchProcess(device, HostBudget(host.read))

    def make(**options: Any) -> Weights[Any]:
        host.models.append(weights_on(device, load, name=f"m{len(host.models)}", engine=engine, **options))
        return host.models[-1]

    return make


MakeOn = Callable[..., Weights[Any]]


def answer(weights: Weights[Any]) -> torch.Tensor:
    with held(weights) as model, torch.inference_mode():
        return torch.as_tensor(model(X)).clone()


@pytest.fixture
def twin() -> torch.Tensor:
    with torch.inference_mode():
        return torch.as_tensor(load()(X)).clone()


@pytest.mark.parametrize(
    ("mirror", "awake", "copied"),
    [
        pytest.param("keep", _NBYTES, 0, id="keep"),
        pytest.param("auto", _NBYTES, 0, id="auto with room"),
        pytest.param("drop", 0, _NBYTES, id="drop"),
    ],
)
def test_what_is_kept_while_awake_and_what_an_offload_costs(
    make_on: MakeOn, twin: torch.Tensor, mirror: str, awake: int, copied: int
) -> None:
    weights = make_on(mirror=mirror)
    weights.wake()
    for _ in range(3):
        assert weights.host_bytes == awake
        assert torch.equal(answer(weights), twin)
        weights.offload()
        assert (weights.speed.offload_bytes_copied, weights.host_bytes, weights.dirty) == (copied, _NBYTES, False)
        weights.restore()
    weights.unload()
    weights.wake()
    assert torch.equal(answer(weights), twin)


def test_auto_without_room_loads_straight_and_pays_the_copy_once(
    make_on: MakeOn, host: Host, twin: torch.Tensor
) -> None:
    weights, other = make_on(mirror="auto"), make_on(mirror="keep")
    other.load()
    host.nbytes = 2 * _NBYTES - 1
    with pytest.raises(HostFull):
        weights.load()
    # While it is loaded nothing but the stretch is needed; this model is smaller than one, so room for it appears.
    room = weights._process.host.promised

    def stretch_only(nbytes: int, *, at_any_price: bool = True) -> Any:
        return room(nbytes if not at_any_price else 0, at_any_price=at_any_price)

    weights._process.host.promised = stretch_only  # type: ignore[method-assign,assignment]
    weights.wake()
    weights._process.host.promised = room  # type: ignore[method-assign]
    assert (weights.residency, weights.host_bytes) == (Residency.GPU, 0)
    assert torch.equal(answer(weights), twin)
    with pytest.raises(HostFull):
        weights.offload()
    assert (weights.residency, weights.device_bytes) == (Residency.GPU, _NBYTES)
    other.unload()
    for copied in (_NBYTES, 0, 0):
        weights.offload()
        assert (weights.speed.offload_bytes_copied, weights.host_bytes) == (copied, _NBYTES)
        weights.restore()
        assert torch.equal(answer(weights), twin)


def test_a_mirror_is_given_up_for_another_models_load_and_the_next_offload_pays(
    make_on: MakeOn, host: Host, twin: torch.Tensor
) -> None:
    host.nbytes = _NBYTES + 1000
    first, second = make_on(), make_on(mirror="keep")
    first.wake()
    assert first.host_bytes == _NBYTES
    second.load()
    assert (first.host_bytes, second.host_bytes) == (0, _NBYTES)
    assert torch.equal(answer(first), twin)
    with pytest.raises(HostFull):
        first.offload()
    assert first.residency is Residency.GPU
    assert torch.equal(answer(first), twin)
    second.unload()
    first.offload()
    assert (first.speed.offload_bytes_copied, first.host_bytes) == (_NBYTES, _NBYTES)
    first.restore()
    first.offload()
    assert first.speed.offload_bytes_copied == 0


def test_no_mirror_is_given_up_while_it_is_all_that_will_be_left(make_on: MakeOn, device: SimDevice) -> None:
    """Between the look at what changed and the memory given back."""
    weights = make_on()
    weights.wake()
    spared: list[int] = []
    give_back = device.held_bytes

    def in_between() -> Any:
        asking = threading.Thread(target=lambda: spared.append(weights._loaded.own.give_up_mirror()))  # type: ignore[union-attr]
        asking.start()
        asking.join(10)
        spared.append(weights._loaded.own.give_up_mirror())  # type: ignore[union-attr]
        return give_back()

    device.held_bytes = in_between  # type: ignore[method-assign]
    weights.offload()
    assert set(spared) == {0}
    assert weights.host_bytes == _NBYTES
    weights.restore()


def test_a_model_that_keeps_its_mirror_is_never_asked_for_it(make_on: MakeOn, host: Host) -> None:
    host.nbytes = _NBYTES + 1000
    first, second = make_on(mirror="keep"), make_on(mirror="keep")
    first.wake()
    with pytest.raises(HostFull):
        second.load()
    assert first.host_bytes == _NBYTES


def test_two_who_ask_at_once_are_never_promised_the_same_room() -> None:
    budget = HostBudget(lambda: HostMemory(1000, 1000))
    with budget.promised(600) as first:
        with pytest.raises(HostFull) as full, budget.promised(600):
            pass
        assert (full.value.need_bytes, full.value.room_bytes) == (600, 400)
        first.written(300)
        assert budget.room == 700
    assert budget.room == 1000


def test_many_who_ask_at_once_get_no_more_than_there_is() -> None:
    budget, most, now, lock = HostBudget(lambda: HostMemory(1000, 1000)), [0], [0], threading.Lock()

    def ask() -> None:
        for _ in range(300):
            try:
                with budget.promised(300):
                    with lock:
                        now[0] += 300
                        most[0] = max(most[0], now[0])
                    with lock:
                        now[0] -= 300
            except HostFull:
                pass

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most[0] <= 900
    assert budget.room == 1000


def test_spares_may_come_and_go_while_somebody_looks_through_them() -> None:
    class Nothing:
        def give_up_mirror(self) -> int:
            return 0

    budget, stop, kept, failed = HostBudget(lambda: HostMemory(10, 10)), threading.Event(), [], list[BaseException]()

    def come() -> None:
        while not stop.is_set():
            kept.append(Nothing())
            budget.can_spare(kept[-1])
            if len(kept) > 500:
                kept.clear()

    coming = threading.Thread(target=come)
    coming.start()
    try:
        for _ in range(300):
            with pytest.raises(HostFull), budget.promised(11):
                pass
    except RuntimeError as error:
        failed.append(error)
    stop.set()
    coming.join(10)
    assert failed == []


_PEAK = """
from pathlib import Path
import torch
from torch import nn
from dormouse_modelserver.engines.torch.process import TorchProcess
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights
N = 100
def load():
    model = nn.ParameterList(nn.Parameter(torch.empty(1 << 20), requires_grad=False) for _ in range(N))
    for parameter in model:
        parameter.fill_(1)
    return model
def kib(what):
    return int(next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(what)).split()[1])
warm = Weights("warm", lambda: nn.Linear(2000, 2000), TorchProcess(SimDevice("sim")))
warm.load()
warm.unload()
Path("/proc/self/clear_refs").write_text("5")  # the peak is that from here on
before = kib("VmRSS")
weights = Weights("large", load, TorchProcess(SimDevice("sim")))
weights.load()
assert weights.host_bytes == N << 22
print((kib("VmHWM") - before) * 1024)
"""


def test_a_load_takes_the_weights_once_and_a_stretch_more_of_host_ram() -> None:
    result = subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, text=True, timeout=120, check=True)
    peak, weights, stretch = int(result.stdout), 400 << 20, 256 << 20
    assert weights < peak < weights + stretch + (30 << 20)
