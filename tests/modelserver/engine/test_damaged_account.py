"""The file of a shared simulated device is damaged: it begins anew, and no wake fails for it."""

import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dormouse_modelserver import ConfigurationError, Residency, ResidencyManager, TransitionFailed
from dormouse_modelserver.engines.torch.sim.account import FileAccount
from dormouse_modelserver.engines.torch.sim.account_file import start_time

from tests.modelserver.lifecycle.conftest import ask, load_doubler

ME = f"{os.getpid()}:{start_time(os.getpid())}"
DAMAGED = {
    "truncated": b'{"capacity": 100, "hold',
    "no JSON": b"nothing of ours",
    "binary": bytes(range(256)),
    "a list": b"[1, 2]",
    "a string": b'"used"',
    "null": b"null",
    "NaN": b"NaN",
    "no holders": b'{"capacity": 100}',
    "holders are a list": b'{"capacity": 100, "holders": [1]}',
    "nested deeply": b"[" * 100_000,
    "a number without end": b"9" * 10_000,
    "huge": b'{"capacity": 100, "holders": {"' + b"x" * (2 << 20),
}
ODD = {
    "pid is a word": {"self:1": 90},
    "pid is a path": {"../1:1": 90},
    "pid is negative": {"-1:1": 90},
    "pid is Arabic": {"١٢:1": 90},
    "pid is huge": {"9" * 5000 + ":1": 90},
    "no start time": {f"{os.getpid()}:": 90},
    "dead, without a start time": {"99999999:": 90},
    "negative": {"1:1": -90},
    "NaN": {ME: float("nan")},
    "infinite": {ME: float("inf")},
    "a fraction": {ME: 1.5},
    "true": {ME: True},
    "text": {ME: "90"},
    "null": {ME: None},
    "a list": {ME: [90]},
    "too much": {ME: 10**30},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gpu"


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_begun_anew_with_a_word_and_put_aside(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    account = FileAccount(str(path), 100)
    assert account.take(60) is None
    for _ in range(3):
        path.write_bytes(content)
        assert account.used() == (60, 60), "what this process holds is held all the same"
    assert account.take(41) == 40
    assert account.take(40) is None
    assert json.loads(path.read_text()) == {"capacity": 100, "holders": {ME: 100}}
    assert path.with_name("gpu.damaged").read_bytes() == content
    said = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 1
    assert "begun anew" in said[0].getMessage()


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_file_that_was_damaged_before_the_start_is_no_obstacle(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert FileAccount(str(path), 100).take(100) is None


@pytest.mark.parametrize("holders", ODD.values(), ids=ODD)
def test_an_entry_that_can_not_be_holds_nothing(path: Path, holders: dict[str, object]) -> None:
    account = FileAccount(str(path), 100)
    account.take(60)
    path.write_text(json.dumps({"capacity": 100, "holders": holders}))
    assert account.used() == (60, 60)
    assert account.take(40) is None
    assert account.holders() == {os.getpid(): 100}


@pytest.mark.parametrize("capacity", ["NaN", "-5", "0", '"100"', "null", "1e9", "[]", "true"])
def test_a_capacity_that_can_not_be_is_what_this_process_asks_for(path: Path, capacity: str) -> None:
    account = FileAccount(str(path), 100)
    account.take(60)
    path.write_text(f'{{"capacity": {capacity}, "holders": {{"{ME}": 60}}}}')
    assert account.take(41) == 40


def test_a_model_goes_on_sleeping_and_waking_over_damaged_files(path: Path) -> None:
    manager = ResidencyManager(f"sim:1MiB@{path}", socket="")
    tts = manager.register("tts", load=load_doubler)
    for content in DAMAGED.values():
        path.write_bytes(content)
        with tts.on_gpu() as model:
            assert ask(model, 1) == 3
            assert manager.device.memory().used_by_this_process == 512
        path.write_bytes(content)
        tts.move_to(Residency.CPU)
        assert manager.device.memory().used == 0
    manager.close()


_CHILD = """
import sys
from dormouse_modelserver.engines.torch.sim.account import FileAccount
account = FileAccount(sys.argv[1], 100)
print(account.take(60), flush=True)
for line in sys.stdin:
    print(*account.used(), flush=True)
"""


def test_what_another_process_holds_counts_again_from_its_next_look(path: Path) -> None:
    command = [sys.executable, "-c", _CHILD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "None\n"
        mine = FileAccount(str(path), 100)
        assert mine.take(41) == 40
        path.write_bytes(b"{")
        assert mine.used() == (0, 0)
        child.stdin.write("look\n")
        assert child.stdout.readline() == "60 60\n"
        assert mine.take(41) == 40
        child.stdin.close()


_DAMAGER = """
import sys, time
from pathlib import Path
path = Path(sys.argv[1])
print("ready", flush=True)
end = time.monotonic() + 20
while time.monotonic() < end:
    path.write_bytes(b'{"capac')
    time.sleep(0.002)
"""
_RACER = """
import sys
from dormouse_modelserver.engines.torch.sim.account import FileAccount
account = FileAccount(sys.argv[1], 100)
print("ready", flush=True)
for _ in range(500):
    if account.take(40) is None:
        account.give_back(40)
print(account.used()[1])
"""


def test_processes_that_race_over_a_file_that_is_damaged_all_the_time_hold_nothing_in_the_end(path: Path) -> None:
    def start(code: str) -> "subprocess.Popen[str]":
        return subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)

    damager, racers = start(_DAMAGER), [start(_RACER) for _ in range(2)]
    try:
        for racer in racers:
            assert racer.communicate(timeout=60)[0].split() == ["ready", "0"]
    finally:
        damager.kill()
        damager.communicate()
    assert FileAccount(str(path), 100).take(100) is None


def test_a_deleted_file_or_folder_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "shared" / "gpu"
    account = FileAccount(str(path), 100)
    account.take(60)
    path.unlink()
    assert account.used() == (60, 60)
    path.unlink()
    path.parent.rmdir()
    assert account.used() == (60, 60)
    assert json.loads(path.read_text())["holders"] == {ME: 60}


def test_behind_a_link_only_the_link_is_put_aside(path: Path) -> None:
    """Whoever names a file of theirs by mistake still has it."""
    theirs = path.with_name("notes.txt")
    theirs.write_text("dear diary")
    path.symlink_to(theirs)
    assert FileAccount(str(path), 100).take(100) is None
    assert theirs.read_text() == "dear diary"


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "link in a circle"])
def test_what_is_no_file_is_refused_at_the_start_and_left_as_it_is(path: Path, kind: str) -> None:
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/null")
    else:
        path.symlink_to(path)
    with pytest.raises(ConfigurationError, match=f"account {path} can't be used: "):
        FileAccount(str(path), 100)
    assert path.is_symlink() or path.exists()


def test_a_full_disk_takes_nothing_says_so_and_is_forgotten_when_there_is_room(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full is a fault that only a fake can have here."""
    manager = ResidencyManager(f"sim:1MiB@{path}", socket="")
    tts = manager.register("tts", load=load_doubler)
    with tts.on_gpu():
        pass
    tts.move_to(Residency.CPU)
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", _no_room)
        with pytest.raises(TransitionFailed, match=r"No space left on device\. Nothing was taken"):
            tts.move_to(Residency.GPU)
        assert tts.snapshot().residency is Residency.CPU
    with tts.on_gpu() as model:
        assert ask(model, 1) == 3
    assert json.loads(path.read_text())["holders"] == {ME: 512}
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", _no_room)
        tts.move_to(Residency.CPU)
        assert manager.device.memory().used_by_this_process == 0, "given back all the same"
    assert manager.device.memory().used == 0
    assert json.loads(path.read_text())["holders"] == {}
    manager.close()


def test_two_devices_of_one_process_on_one_file_add_up(path: Path) -> None:
    one, other = FileAccount(str(path), 100), FileAccount(str(path), 100)
    assert one.take(60) is None
    assert other.take(41) == 40
    assert other.take(40) is None
    one.give_back(60)
    assert other.used() == (40, 40)


def _no_room(file: int, data: bytes, offset: int) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("refused", [errno.EACCES, errno.EROFS, errno.EMFILE, errno.EIO])
def test_a_file_that_can_not_be_opened_any_more_is_a_sentence(
    path: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    """Root, who runs the tests, may open everything."""
    account = FileAccount(str(path), 100)
    account.take(60)

    def refuse(*args: object, **more: object) -> int:
        raise OSError(refused, os.strerror(refused))

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        with pytest.raises(TransitionFailed, match="can't be used") as raised:
            account.take(1)
        assert str(raised.value).count(". ") == 2, "three short sentences at most"
        assert account.used() == (60, 60)
        account.give_back(60)
        with pytest.raises(ConfigurationError, match="can't be used"):
            FileAccount(str(path), 100)
    assert account.used() == (0, 0)
