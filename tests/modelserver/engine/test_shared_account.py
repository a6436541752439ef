"""One simulated device shared by several real processes through a file."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dormouse_modelserver import ConfigurationError, DeviceFull
from dormouse_modelserver.engines.torch.open_device import open_device
from dormouse_modelserver.engines.torch.sim.account import FileAccount

from tests.waiting import until

# Takes what it is told to and says so; gives it back when told to; ends with its input.
_HOLDER = """
import sys
from dormouse_modelserver.engines.torch.sim.account import FileAccount
account = FileAccount(sys.argv[1], int(sys.argv[2]))
for line in sys.stdin:
    command, nbytes = line.split()
    if command == "take":
        print("full" if account.take(int(nbytes)) is not None else "ok", flush=True)
    else:
        account.give_back(int(nbytes))
        print("ok", flush=True)
"""
# Takes and gives back as fast as it can; tells of each time that more than there is was taken.
_RACER = """
import sys
from dormouse_modelserver.engines.torch.sim.account import FileAccount
account = FileAccount(sys.argv[1], int(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
taken = over = 0
for _ in range(1500):
    if account.take(40) is None:
        taken += 1
        over += account.used()[0] > 100
        account.give_back(40)
print(taken, over, account.used()[1])
"""


class Holder:
    def __init__(self, path: Path, capacity: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, str(path), str(capacity)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, command: str, nbytes: int) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command} {nbytes}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=10)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    holder = Holder(tmp_path / "gpu", 100)
    yield holder
    holder.close()


def test_what_one_process_holds_another_can_not_take(tmp_path: Path, holder: Holder) -> None:
    mine = FileAccount(str(tmp_path / "gpu"), 100)
    assert holder.ask("take", 70) == "ok"
    assert mine.used() == (70, 0)
    assert mine.take(31) == 30, "nothing is taken and the room is told"
    assert mine.take(30) is None
    assert mine.used() == (100, 30)
    assert holder.ask("take", 1) == "full"
    assert holder.ask("give", 70) == "ok"
    assert mine.take(70) is None


def test_a_killed_process_holds_nothing(tmp_path: Path, holder: Holder) -> None:
    mine = FileAccount(str(tmp_path / "gpu"), 100)
    assert holder.ask("take", 90) == "ok"
    assert mine.take(50) == 10
    holder.kill()
    assert mine.used() == (0, 0)
    assert mine.take(100) is None


def test_a_process_that_has_ended_and_was_not_waited_for_holds_nothing(tmp_path: Path, holder: Holder) -> None:
    mine = FileAccount(str(tmp_path / "gpu"), 100)
    assert holder.ask("take", 90) == "ok"
    holder.process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, holder.process.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{holder.process.pid}").exists()
    assert mine.used() == (0, 0)


def test_a_new_process_with_a_dead_ones_number_does_not_inherit(tmp_path: Path) -> None:
    (tmp_path / "gpu").write_text(json.dumps({"capacity": 100, "holders": {f"{os.getpid()}:1": 90}}))
    assert FileAccount(str(tmp_path / "gpu"), 100).used() == (0, 0)


def test_two_processes_that_race_never_take_more_than_there_is(tmp_path: Path) -> None:
    """All start at one word: three times 40 do not fit into 100, and nothing is lost or left over."""
    command = [sys.executable, "-c", _RACER, str(tmp_path / "gpu"), "100"]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        taken, over, left = racer.communicate(timeout=60)[0].split()
        assert int(taken) > 0
        assert (over, left) == ("0", "0")


@pytest.mark.parametrize("torn", ["}", '"123:4": 50}}', "\0\0\0"], ids=["brace", "old tail", "zeros"])
def test_bytes_left_behind_by_a_torn_write_do_no_harm(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "gpu"
    account = FileAccount(str(path), 100)
    account.take(60)
    path.write_text(path.read_text() + torn)
    assert account.used() == (60, 60)
    account.give_back(60)
    assert json.loads(path.read_text()) == {"capacity": 100, "holders": {}}


def test_another_size_for_the_same_device_is_refused(tmp_path: Path) -> None:
    FileAccount(str(tmp_path / "gpu"), 100).take(1)
    with pytest.raises(ConfigurationError, match="has 100 bytes and this process asks for 200"):
        FileAccount(str(tmp_path / "gpu"), 200)


def test_a_device_by_that_name_is_refused_room_that_another_process_holds(tmp_path: Path, holder: Holder) -> None:
    assert holder.ask("take", 60) == "ok"
    device = open_device(f"sim:100@{tmp_path}/gpu")
    assert (device.memory().used, device.memory().used_by_this_process) == (60, 0)
    with pytest.raises(DeviceFull, match="room for 40 bytes and 60"):
        device.allocate(60)
    holder.kill()
    until(lambda: device.memory().used == 0)
    device.allocate(60).close()


def test_a_device_that_nobody_is_on_may_come_back_in_another_size(tmp_path: Path) -> None:
    earlier = FileAccount(str(tmp_path / "gpu"), 100)
    earlier.take(60)
    earlier.give_back(60)
    assert FileAccount(str(tmp_path / "gpu"), 200).take(150) is None
