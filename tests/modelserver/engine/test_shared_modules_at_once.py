"""Models that share modules and move at the same moment: forced orders where a race was suspected, and a storm."""

import random
import threading
import time
from collections.abc import Callable

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver import DeviceFull, IntegrityError, LoadFailed, ModelBusy, ModelNotHeld, ResidencyManager
from dormouse_modelserver.engines.torch.loading import loader
from dormouse_modelserver.engines.torch.process import TorchProcess
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from dormouse_modelserver.engines.torch.weights import Weights
from torch import nn

from tests.modelserver.zoo import X
from tests.waiting import until

from .sharing_models import Cache, Family, Part, answer_of
from .using import on_gpu, weights_on

_STORM_SECONDS = 6.0
# On a busy machine it goes on until there were enough answers, so long at most.
_AT_MOST_SECONDS = 120.0
_THREADS = 8


class InThread:
    """A call in a thread of its own; `ends` gives its error on."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.error: BaseException | None = None

        def run() -> None:
            try:
                call()
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def ends(self) -> None:
        self.thread.join(20)
        assert not self.thread.is_alive(), "it hangs"
        if self.error is not None:
            raise self.error


@pytest.fixture
def family(device: SimDevice) -> Family:
    return Family(device)


def held_up(device: SimDevice, call: Callable[[], object]) -> tuple[InThread, Callable[[], None]]:
    """`call`, stopped in its copy to the device; and what lets it go on."""
    reached, go = threading.Event(), threading.Event()

    def stop() -> None:
        device.faults.before_copy_in = None
        reached.set()
        assert go.wait(20)

    device.faults.before_copy_in = stop
    moving = InThread(call)
    assert reached.wait(10)
    return moving, go.set


def test_a_load_waits_for_the_load_of_what_it_shares(family: Family) -> None:
    """Both would take the same tensors for their own, and each would move them away from the other."""
    first, go_on = held_up(family.device, Family(family.device).a.wake)
    go_on()
    first.ends()
    drop = Family(family.device, mirror="drop")
    first, go_on = held_up(drop.device, drop.a.wake)  # straight to the device: it has no bundle to join yet
    second = InThread(drop.b.wake)
    second.thread.join(0.1)
    assert second.thread.is_alive()
    go_on()
    first.ends()
    second.ends()
    assert drop.right(drop.a, "a")
    assert drop.right(drop.b, "b")
    drop.a.offload()
    assert drop.right(drop.b, "b")


def test_a_load_whose_shared_module_went_away_meanwhile_is_made_again(family: Family) -> None:
    loading, times = _b_loads_as_a_is_unloaded(family)
    loading.ends()
    assert len(times) == 2
    assert family.right(family.b, "b")


def test_a_load_waits_for_who_used_the_module_of_before_and_is_about_to_return(family: Family) -> None:
    family.a.wake()
    frame = [family.a.model.encoder]
    loading, times = _b_loads_as_a_is_unloaded(family)
    returns = threading.Timer(0.5, frame.clear)
    returns.start()
    loading.ends()
    returns.join()
    assert len(times) == 2, "it was asked again before there was anything new"
    assert family.right(family.b, "b")


def test_a_load_waits_for_another_load_that_took_up_the_module_of_before(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one may take long: it reads the rest of its weights before it learns the same."""
    family.a.wake()
    looks, wait = list[float](), time.sleep

    def look(seconds: float) -> None:
        looks.append(seconds)
        wait(0.001)

    monkeypatch.setattr(loader.time, "sleep", look)
    slow, let_it_end, _ = _loads_and_waits(family.c, family.loads["c"])
    loading, times = _b_loads_as_a_is_unloaded(family)
    until(lambda: len(looks) > 2 * loader._LOOKS or not loading.thread.is_alive())
    assert loading.thread.is_alive(), repr(loading.error)
    assert len(times) == 1
    let_it_end()
    slow.ends()
    loading.ends()
    assert family.right(family.b, "b")
    assert family.right(family.c, "c")


def _b_loads_as_a_is_unloaded(family: Family) -> tuple[InThread, list[int]]:
    """`b` has taken up the encoder that it shares with `a`, when `a` goes. With an entry for each call of its load."""
    family.a.wake()
    loading, let_it_end, times = _loads_and_waits(family.b, family.loads["b"])
    family.a.unload()
    let_it_end()
    return loading, times


def _loads_and_waits(
    weights: Weights[Part], load: Callable[[], Part]
) -> tuple[InThread, Callable[[], None], list[int]]:
    """Its wake, once its load has taken up what is shared; what lets that return; and an entry for each call of it."""
    taken, go, times = threading.Event(), threading.Event(), list[int]()

    def slow_load() -> Part:
        part = load()
        times.append(1)
        taken.set()
        assert go.wait(20)
        return part

    weights._loader._load = slow_load
    loading = InThread(weights.wake)
    assert taken.wait(10)
    return loading, go.set, times


def test_a_load_that_fails_does_not_hold_up_who_shares_it(family: Family) -> None:
    drop = Family(family.device, mirror="drop")
    first, go_on = held_up(drop.device, drop.a.wake)
    second = InThread(drop.b.wake)
    second.thread.join(0.1)
    drop.device.faults.corrupt_copy_in_at_byte = 3
    go_on()
    with pytest.raises(IntegrityError):
        first.ends()
    first.error = None  # it knows the frames that know the module
    drop.device.faults.corrupt_copy_in_at_byte = None
    second.ends()
    assert drop.right(drop.b, "b")
    assert drop.right(on_gpu(drop.a), "a")


def test_a_wake_that_fails_while_the_other_sleeps_leaves_both_whole(family: Family) -> None:
    family.a.load()
    family.b.load()
    family.a.restore()
    family.device.faults.corrupt_copy_in_at_byte = 5
    waking, go_on = held_up(family.device, family.b.restore)
    family.a.offload()
    go_on()
    with pytest.raises(IntegrityError):
        waking.ends()
    family.device.faults.corrupt_copy_in_at_byte = None
    assert family.device.memory().used == 0
    assert family.right(on_gpu(family.a), "a")
    assert family.right(on_gpu(family.b), "b")


def manager_with(capacity: str, cache: Family) -> ResidencyManager:
    manager = ResidencyManager(f"sim:{capacity}", socket="")
    for name, load in cache.loads.items():
        manager.register(name, load=load)
    return manager


def use_once(manager: ResidencyManager, family: Family, name: str) -> bool:
    with manager[name].on_gpu(timeout=60) as model:
        return torch.equal(answer_of(model), family.twins[name])


@pytest.mark.parametrize(
    "capacity",
    [pytest.param("1MiB", id="room for all"), pytest.param("1792", id="room for the largest alone")],
)
def test_threads_that_use_and_demote_all_of_them_always_get_the_right_answer(family: Family, capacity: str) -> None:
    manager = manager_with(capacity, family)
    began = time.monotonic()
    answers, wrong = dict.fromkeys("abc", 0), list[str]()
    lock = threading.Lock()

    def goes_on() -> bool:
        return time.monotonic() - began < (_STORM_SECONDS if min(answers.values()) > 20 else _AT_MOST_SECONDS)

    def use(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - a storm, no secret
        while goes_on():
            name = chance.choice("abc")
            right = use_once(manager, family, name)
            with lock:
                answers[name] += right
                wrong.extend([] if right else [name])

    def demote(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311
        while goes_on():
            try:
                to = chance.choice([Residency.CPU, Residency.CPU, Residency.UNLOADED])
                manager[chance.choice("abc")].move_to(to)
            except ModelBusy:
                pass
            time.sleep(chance.random() * 0.003)

    works = [InThread(lambda seed=seed: use(seed)) for seed in range(_THREADS)]  # type: ignore[misc]
    works += [InThread(lambda seed=seed: demote(seed)) for seed in range(2)]  # type: ignore[misc]
    for work in works:
        work.thread.join(_AT_MOST_SECONDS + 30)
        assert not work.thread.is_alive(), "it hangs"
        assert work.error is None, repr(work.error)
    assert wrong == []
    assert min(answers.values()) > 20, answers
    for name in "abc":
        manager[name].move_to(Residency.UNLOADED)
    assert manager.device.memory().used == 0
    manager.close()


def test_a_wake_that_makes_room_by_the_sharers_sleep_does_not_wait_for_it_for_ever(family: Family) -> None:
    """The sharer's demotion needs the locks of the bundle that the wake wants."""
    manager = manager_with("1792", family)
    for _ in range(5):
        for name in "abc":
            assert use_once(manager, family, name)
    manager.close()


def test_a_part_that_nobody_holds_stays_shut_in_every_thread(family: Family) -> None:
    family.a.wake()
    family.b.wake()
    shared: nn.Module = family.a.model.encoder
    outcome: list[type[BaseException]] = []

    def use() -> None:
        try:
            shared(X)
        except ModelNotHeld as error:
            outcome.append(type(error))

    InThread(use).ends()
    assert outcome == [ModelNotHeld]


def test_nobody_joins_what_has_no_mirror_before_its_wake_is_known_to_be_good(device: SimDevice) -> None:
    """If that wake fails, the only copy of the weights goes with it."""
    family, reached, go = Family(device, mirror="drop"), threading.Event(), threading.Event()

    def warm_up(model: Part) -> None:
        reached.set()
        assert go.wait(20)
        raise ValueError("no such voice")

    object.__setattr__(family.a._options, "warm_up", warm_up)
    first = InThread(family.a.wake)
    assert reached.wait(10)
    second = InThread(family.b.load)
    second.thread.join(0.1)
    go.set()
    with pytest.raises(LoadFailed, match="no such voice"):
        first.ends()
    first.error = None  # it knows the frames that know the module
    second.ends()
    assert family.right(on_gpu(family.b), "b")
    family.b.unload()
    assert device.memory().used == 0


def test_who_joins_a_load_that_waits_for_room_does_not_hold_up_who_makes_it(device: SimDevice) -> None:
    """It wants the bundle of the model that shall leave, and the one that is filled when that has left."""
    cache, waits, go = Cache(), threading.Event(), threading.Event()
    other = device.allocate(device.memory().total - 1024)
    engine = TorchProcess(device)

    def make_room(name: str, full: DeviceFull) -> bool:
        waits.set()
        assert go.wait(20)
        leaves.offload()
        return True

    engine.make_room = make_room
    leaves, waiting, joins = (
        weights_on(device, load, name=name, engine=engine, mirror="drop")
        for name, load in {
            "leaves": lambda: nn.Sequential(cache.middle(), nn.Linear(8, 8)).eval(),
            "waiting": lambda: nn.Sequential(cache.encoder(), nn.Linear(8, 8)).eval(),
            "joins": lambda: nn.Sequential(cache.encoder(), cache.middle()).eval(),
        }.items()
    )
    leaves.wake()
    first = InThread(waiting.wake)
    assert waits.wait(10)
    second = InThread(joins.load)
    second.thread.join(0.1)
    assert second.thread.is_alive(), "what it joins is not filled yet"
    go.set()
    first.ends()
    second.ends()
    other.close()
    assert on_gpu(joins).residency is Residency.GPU
