"""`dormouse-sidecar` as it is started in a pod."""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import auntil

from .certificates import Credential
from .clients import MODELS, POD_UID, RESIDENCY, ask, look, metric, order
from .model_process import ModelProcess
from .mounted_trust import MountedTrust

COMMAND = Path(sys.executable).with_name("dormouse-sidecar")


class Command:
    """A running command; `log` is what it has written so far."""

    def __init__(self, log_file: Path, *arguments: str, **environment: str) -> None:
        self._log_file = log_file
        with log_file.open("wb") as stderr:
            self.process = subprocess.Popen(
                [COMMAND, *arguments], stderr=stderr, env={"PATH": os.environ["PATH"], **environment}
            )

    @property
    def log(self) -> str:
        return self._log_file.read_text()

    def port(self, sentence: str) -> int:
        """The port in the log line that begins so; 0 before it is there."""
        found = re.search(re.escape(sentence) + r" 127\.0\.0\.1:(\d+)", self.log)
        return int(found[1]) if found else 0

    @property
    def rss_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()


@pytest.fixture
def command(tmp_path: Path, trust: MountedTrust) -> Iterator[Command]:
    """Set up by its environment alone, on free ports."""
    command = Command(
        tmp_path / "sidecar.log",
        DORMOUSE_POD_UID=POD_UID,
        DORMOUSE_SOCKET=str(tmp_path / "model.sock"),
        DORMOUSE_TRUST_DIR=str(trust.folder),
        DORMOUSE_CONTROL_HOST="127.0.0.1",
        DORMOUSE_CONTROL_PORT="0",
        DORMOUSE_PLAIN_HOST="127.0.0.1",
        DORMOUSE_PLAIN_PORT="0",
        DORMOUSE_TRUST_POLL="0.05",
        DORMOUSE_REQUEST_TIMEOUT="1",
    )
    try:
        yield command
    finally:
        command.process.kill()
        command.process.wait()


async def test_it_serves_from_the_environment_and_stops_on_sigterm(
    command: Command, model_process: ModelProcess, trust: MountedTrust, operator: Credential
) -> None:
    await auntil(lambda: command.port("metrics and health on") > 0)
    plain = command.port("metrics and health on")
    assert (await look(plain, "/readyz")).status_code == 200
    trust.publish(operator)
    await auntil(lambda: " is open" in command.log)
    control = command.port("the control port")
    answer = await ask(control, operator, "PUT", RESIDENCY, json=order())
    assert answer.status_code == 202
    assert len(model_process.orders) == 1
    assert "tts residency CPU ordered by '5f0c' generation 3: 202" in command.log
    command.process.send_signal(signal.SIGTERM)
    await auntil(lambda: command.process.poll() is not None)
    assert command.process.returncode == 0
    assert "Traceback" not in command.log


async def test_it_starts_quickly_and_is_small(command: Command, model_process: ModelProcess) -> None:
    start = time.monotonic()
    await auntil(lambda: command.port("metrics and health on") > 0)
    assert metric((await look(command.port("metrics and health on"), "/metrics")).text, "dormouse_model_process_up")
    # About 1 s and 60 MB alone on two cores; torch by itself would be 532 MB.
    assert time.monotonic() - start < 8
    assert command.rss_bytes < 100e6


async def test_half_requests_from_many_addresses_leave_its_memory_flat(
    command: Command, model_process: ModelProcess, trust: MountedTrust, operator: Credential
) -> None:
    trust.publish(operator)
    await auntil(lambda: " is open" in command.log)
    control, plain = command.port("the control port"), command.port("metrics and health on")

    async def attack() -> None:
        with contextlib.ExitStack() as held:
            for number in range(200):
                port = (control, plain)[number % 2]
                connection = held.enter_context(socket.socket())
                connection.bind((f"127.0.3.{1 + number}", 0))
                connection.settimeout(2)
                connection.connect(("127.0.0.1", port))
                with contextlib.suppress(OSError):
                    connection.sendall(b"GET /metrics HTTP/1.1\r\nX-Half: " + b"x" * 8000)
            assert (await look(plain, "/healthz")).status_code == 200

    # Every request has been served once before, so that nothing is made for the first time.
    await attack()
    assert (await ask(control, operator, path=MODELS)).status_code == 200
    before = command.rss_bytes
    for _ in range(5):
        await attack()
    assert command.rss_bytes - before < 8e6
    assert (await ask(control, operator, path=MODELS)).status_code == 200


@pytest.mark.parametrize("taken", ["control", "plain"])
def test_a_port_in_use_is_a_clear_error(tmp_path: Path, taken: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ports = {"control": "0", "plain": "0"} | {taken: str(port)}
        ended = subprocess.run(
            [
                COMMAND,
                *("--pod-uid", POD_UID, "--trust-dir", tmp_path, "--socket", tmp_path / "model.sock"),
                *("--control-host", "127.0.0.1", "--control-port", ports["control"]),
                *("--plain-host", "127.0.0.1", "--plain-port", ports["plain"]),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert f"the {taken} port 127.0.0.1:{port} can't be opened: Address already in use" in ended.stderr
    assert f"--{taken}-port" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "set DORMOUSE_POD_UID from metadata.uid"),
        (["--pod-uid", "two words"], "letters, digits, dashes"),
        (["--pod-uid", "x", "--control-port", "70000"], "write 1 to 65535"),
        (["--pod-uid", "x", "--control-port", "https"], "invalid int value"),
        (["--pod-uid", "x", "--request-timeout", "0"], "more than 0"),
    ],
)
def test_a_wrong_setting_is_told_at_start(arguments: list[str], said: str) -> None:
    ended = subprocess.run(
        [COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False, env={"COLUMNS": "200"}
    )
    assert ended.returncode == 2
    assert said in ended.stderr


def test_help_has_examples() -> None:
    ended = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert "examples:" in ended.stdout
    assert "DORMOUSE_TRUST_DIR" in ended.stdout
