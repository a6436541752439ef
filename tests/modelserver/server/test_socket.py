"""The control socket: one process per path, a left-over file is no obstacle, somebody else's file is not touched."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from dormouse_modelserver import ConfigurationError, ResidencyManager

from tests.waiting import until

_OTHER_PROCESS = """
import sys
from dormouse_modelserver import ResidencyManager
manager = ResidencyManager("sim", socket=sys.argv[1])
print("there", flush=True)
sys.stdin.read()
"""


def models_at(path: Path) -> int:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://model") as client:
        return len(client.get("/dormouse/v1/models").json()["models"])


def test_a_second_process_on_one_socket_fails_loudly_and_the_first_goes_on(
    manager: ResidencyManager, socket_path: Path
) -> None:
    second = subprocess.run(
        [sys.executable, "-c", _OTHER_PROCESS, str(socket_path)], input="", capture_output=True, text=True, timeout=60
    )
    assert second.returncode != 0
    assert "another model process serves" in second.stderr
    assert models_at(socket_path) == 1


def test_the_socket_of_a_killed_process_is_taken_over(socket_path: Path) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-c", _OTHER_PROCESS, str(socket_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert killed.stdout is not None
    assert killed.stdout.readline() == b"there\n"
    assert models_at(socket_path) == 0
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=10)
    assert socket_path.is_socket(), "nobody cleaned it up"
    manager = ResidencyManager("sim", socket=str(socket_path))
    manager.register("tts", load=lambda: None)
    assert models_at(socket_path) == 1
    manager.close()


def test_closing_takes_the_socket_away(socket_path: Path) -> None:
    manager = ResidencyManager("sim", socket=str(socket_path))
    until(lambda: models_at(socket_path) == 0)
    manager.close()
    assert list(socket_path.parent.iterdir()) == []


def test_it_is_open_to_its_user_and_group_only(manager: ResidencyManager, socket_path: Path) -> None:
    assert socket_path.stat().st_mode & 0o777 == 0o660


def test_the_path_comes_from_the_environment(socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DORMOUSE_SOCKET", str(socket_path))
    manager = ResidencyManager("sim")
    assert models_at(socket_path) == 0
    manager.close()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_socket_is_left_as_it_is(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "precious"
    if kind == "file":
        path.write_text("weights")
    else:
        path.mkdir()
    with pytest.raises(ConfigurationError, match="DORMOUSE_SOCKET"):
        ResidencyManager("sim", socket=str(path))
    assert path.is_dir() if kind == "folder" else path.read_text() == "weights"


def test_a_path_that_can_not_be_a_socket_is_refused_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="too long"):
        ResidencyManager("sim", socket=str(tmp_path / ("x" * 200)))
    if os.getuid() != 0:
        with pytest.raises(ConfigurationError, match="ermission"):
            ResidencyManager("sim", socket="/proc/model.sock")


def test_a_listener_that_never_answers_is_still_another_process(socket_path: Path) -> None:
    socket_path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(socket_path))
        mute.listen(1)
        with pytest.raises(ConfigurationError, match="another model process"):
            ResidencyManager("sim", socket=str(socket_path))
