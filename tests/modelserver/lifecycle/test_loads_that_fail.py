"""A load that never works, one that works again, and one that hangs."""

import gc
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from dormouse_contract import Residency, Trigger
from dormouse_modelserver import HostFull, LoadFailed, Model, ResidencyManager, WakeTimeout
from dormouse_modelserver.lifecycle import slow_moves, start_and_end
from safetensors.torch import load_file, save_file
from torch import nn

from tests.waiting import until

from .conftest import Loads, Manage, ask, load_doubler
from .test_pressure import full_host


def fails(tts: Model[nn.Linear]) -> LoadFailed:
    with pytest.raises(LoadFailed) as failed:
        tts.on_gpu().__enter__()
    return failed.value


def load_failures(manager: ResidencyManager, model: str = "tts") -> float | None:
    return manager.telemetry.registry.get_sample_value("dormouse_model_load_failures_total", {"model": model})


def test_the_first_failure_is_logged_whole_and_the_same_again_in_one_line(
    tts: Model[nn.Linear], loads: Loads, caplog: pytest.LogCaptureFixture
) -> None:
    loads.fails = RuntimeError("the hub is down")
    fails(tts)
    assert caplog.text.count("Traceback") >= 1
    assert "raise self.fails" in caplog.text, "the user's own line is in it"
    caplog.clear()
    fails(tts)
    until(lambda: "the hub is down" in caplog.text)
    assert "Traceback" not in caplog.text


def test_another_failure_is_logged_whole_again(
    tts: Model[nn.Linear], loads: Loads, caplog: pytest.LogCaptureFixture
) -> None:
    loads.fails = RuntimeError("the hub is down")
    fails(tts)
    caplog.clear()
    loads.fails = OSError("no space left")
    fails(tts)
    until(lambda: "Traceback" in caplog.text)


def test_requests_back_off_and_are_told_truthfully_when_to_come_back(tts: Model[nn.Linear], loads: Loads) -> None:
    loads.fails = RuntimeError("the hub is down")
    for _ in range(50):
        error = fails(tts)
    assert loads.count == 2, "the second try was worth it, and no more at once"
    assert "It failed 2 times in a row; a request tries it again in 1 s" in str(error)
    began = time.monotonic()
    until(lambda: str(fails(tts)) != "" and loads.count == 3)
    assert time.monotonic() - began <= error.retry_after_seconds + 1
    assert fails(tts).retry_after_seconds > 1, "twice as long each time"


def test_after_the_load_was_mended_a_request_is_answered_and_all_is_forgotten(
    manager: ResidencyManager, tts: Model[nn.Linear], loads: Loads
) -> None:
    loads.fails = RuntimeError("the hub is down")
    for _ in range(3):
        fails(tts)
    loads.fails = None
    tts.move_to(Residency.GPU)
    with tts.on_gpu() as model:
        assert ask(model, 1) == 3
    tts.move_to(Residency.UNLOADED)
    loads.fails = RuntimeError("the hub is down")
    assert "in a row" not in str(fails(tts))
    assert load_failures(manager) == 3


@pytest.mark.parametrize(
    "error",
    [
        ImportError("No module named 'flash_attn'"),
        SyntaxError("invalid syntax"),
        TypeError("load() got an unexpected keyword"),
        NotImplementedError("no such backend"),
        PermissionError(13, "Permission denied"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_waiting_can_not_help_says_so_and_is_not_tried_by_each_request(
    tts: Model[nn.Linear], loads: Loads, error: Exception
) -> None:
    loads.fails = error
    for _ in range(5):
        failed = fails(tts)
        assert "Waiting does not help: mend it, then restart, or wake the model by hand" in str(failed)
        assert not failed.retryable
        assert failed.retry_after_seconds > 60
    assert loads.count == 1
    loads.fails = None
    tts.move_to(Residency.GPU)
    assert loads.count == 2, "by hand it is tried at once"


@pytest.mark.parametrize("gives", [lambda: None, lambda: nn.LazyLinear(3)], ids=["nothing", "no shape"])
def test_what_can_not_be_moved_is_not_built_again_by_each_request(manage: Manage, gives: Callable[[], object]) -> None:
    built: list[int] = []

    def load() -> object:
        built.append(1)
        return gives()

    model = manage().register("m", load)
    for _ in range(3):
        with pytest.raises(LoadFailed, match="Waiting does not help"):
            model.on_gpu().__enter__()
    assert len(built) == 1


def test_a_file_that_has_come_is_read_at_once(manage: Manage, tmp_path: Path) -> None:
    path, read = tmp_path / "weights", list[int]()

    def load() -> nn.Linear:
        read.append(1)
        path.read_bytes()
        return load_doubler()

    model = manage().register("m", load)
    for _ in range(3):
        with pytest.raises(LoadFailed, match="Waiting does not help"):
            model.on_gpu().__enter__()
    assert len(read) == 1
    path.touch()
    with model.on_gpu() as linear:
        assert ask(linear, 1) == 3


def read_safetensors(path: Path) -> None:
    load_file(path)


def read_by_bytes(path: Path) -> None:
    os.close(os.open(os.fsencode(path), os.O_RDONLY))


@pytest.mark.parametrize("read", [read_safetensors, read_by_bytes])
def test_a_file_that_has_come_is_read_soon_whoever_misses_it(
    manage: Manage, tmp_path: Path, read: Callable[[Path], None]
) -> None:
    path, times = tmp_path / "weights", list[int]()

    def load() -> nn.Linear:
        times.append(1)
        read(path)
        return load_doubler()

    model = manage().register("m", load)
    for _ in range(3):
        with pytest.raises(LoadFailed, match="Waiting does not help"):
            model.on_gpu().__enter__()
    assert len(times) == 1, "it is not tried by each request"
    save_file({"x": torch.ones(1)}, path)

    def answers() -> bool:
        try:
            with model.on_gpu() as linear:
                return ask(linear, 1) == 3
        except LoadFailed:
            return False

    until(answers)


def test_a_file_that_can_not_be_renamed_is_not_tried_by_each_request(manage: Manage, tmp_path: Path) -> None:
    """The error names the file that is there; the folder that is not is its second name."""
    source, times = tmp_path / "weights", list[int]()
    source.touch()

    def load() -> None:
        times.append(1)
        source.rename(tmp_path / "nowhere" / "weights")

    model = manage().register("m", load)
    for _ in range(3):
        with pytest.raises(LoadFailed, match="Waiting does not help"):
            model.on_gpu().__enter__()
    assert len(times) == 1


@pytest.fixture
def a_log_that_breaks() -> Iterator[None]:
    class Breaks(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise OSError(28, "No space left on device")

    handler = Breaks(logging.ERROR)
    logging.getLogger("dormouse").addHandler(handler)
    yield
    logging.getLogger("dormouse").removeHandler(handler)


@pytest.mark.usefixtures("a_log_that_breaks")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_where_even_the_log_breaks_who_waits_hears_of_it_and_the_next_try_works(
    tts: Model[nn.Linear], loads: Loads
) -> None:
    loads.fails = RuntimeError("the hub is down")
    assert "the hub is down" in str(fails(tts))
    loads.fails = None
    with tts.on_gpu(timeout=20) as model:
        assert ask(model, 1) == 3


def test_a_wake_by_schedule_backs_off_and_one_by_hand_does_not(tts: Model[nn.Linear], loads: Loads) -> None:
    loads.fails = ImportError("No module named 'x'")
    fails(tts)
    with pytest.raises(LoadFailed):
        tts.move_to(Residency.GPU, trigger=Trigger.SCHEDULE)
    assert loads.count == 1
    with pytest.raises(LoadFailed):
        tts.move_to(Residency.GPU)
    assert loads.count == 2


def test_a_warm_up_that_never_works_backs_off_too(manage: Manage) -> None:
    warmed: list[int] = []

    def warm_up(model: nn.Linear) -> None:
        warmed.append(1)
        raise ValueError("out of range")

    manager = manage()
    model = manager.register("tts", load_doubler, warm_up=warm_up)
    for _ in range(10):
        with pytest.raises(LoadFailed, match="warm_up"):
            model.on_gpu().__enter__()
    assert len(warmed) == 2
    assert load_failures(manager) == 2


def test_no_room_in_host_ram_is_no_failed_load(manager: ResidencyManager, tts: Model[nn.Linear], loads: Loads) -> None:
    full_host(manager, 10)
    for _ in range(3):
        with pytest.raises(HostFull):
            tts.move_to(Residency.CPU)
    assert (loads.count, load_failures(manager)) == (3, 0)
    full_host(manager, 1 << 29)
    with tts.on_gpu() as model:
        assert ask(model, 1) == 3


def test_who_waits_while_a_preload_fails_hears_of_it_and_nothing_is_loaded_again(
    manager: ResidencyManager, tts: Model[nn.Linear], loads: Loads
) -> None:
    loads.fails = ImportError("No module named 'x'")
    loads.may_go_on.clear()
    manager.preload_in_background()
    assert loads.began.wait(30)
    errors: list[Exception] = []

    def request() -> None:
        try:
            tts.on_gpu(timeout=20).__enter__()
        except LoadFailed as error:
            errors.append(error)

    asking = threading.Thread(target=request)
    asking.start()
    until(lambda: tts.snapshot().waiting == 1)
    loads.may_go_on.set()
    asking.join(20)
    assert (len(errors), loads.count) == (1, 1)


def test_the_remembered_error_keeps_no_half_loaded_model_alive(
    manage: Manage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL + 1, "dormouse")  # pytest keeps what is logged, the error included
    known: list[weakref.ref[nn.Module]] = []

    def load() -> nn.Module:
        model = load_doubler()
        known.append(weakref.ref(model))
        return model.no_such_layer  # type: ignore[return-value]

    model = manage().register("m", load)
    with pytest.raises(LoadFailed):
        model.on_gpu().__enter__()

    def is_gone() -> bool:
        gc.collect()
        return known[0]() is None

    until(is_gone)


def test_a_load_that_hangs_is_told_and_the_others_go_on(
    manager: ResidencyManager,
    tts: Model[nn.Linear],
    loads: Loads,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(slow_moves, "SLOW_SECONDS", 0.2)
    loads.may_go_on.clear()
    with pytest.raises(WakeTimeout, match=r"loading since \d+ s ago"):
        tts.on_gpu(timeout=0.3).__enter__()
    until(lambda: "loading since" in caplog.text and "has not ended" in caplog.text)
    other = manager.register("other", load_doubler)
    with other.on_gpu() as model:
        assert ask(model, 1) == 3
    with pytest.raises(WakeTimeout):
        tts.on_gpu(timeout=0.3).__enter__()
    assert caplog.text.count("has not ended") == 1, "said once"
    assert tts.snapshot().transition is not None
    loads.may_go_on.set()
    until(lambda: tts.snapshot().transition is None)


def test_a_load_that_hangs_keeps_no_other_model_from_being_preloaded_nor_unloaded_at_the_end(
    manager: ResidencyManager, tts: Model[nn.Linear], loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_and_end, "SLOW_SECONDS", 0.2)
    other = manager.register("other", load_doubler)
    loads.may_go_on.clear()
    manager.preload_in_background()
    until(lambda: other.snapshot().residency is Residency.CPU)
    assert tts.snapshot().transition is not None
    manager.unload_all(within_seconds=1)
    assert other.snapshot().residency is Residency.UNLOADED
    loads.may_go_on.set()
    until(lambda: manager.not_ready_because() is None)
