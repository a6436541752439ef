"""Starts the console as a process, as a user does."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from examples.demo.stage import Stage
from localcluster import Process
from localcluster.ports import reserve_port


@contextmanager
def console(folder: Path, stage: Stage, *flags: str, **environment: str) -> Iterator[str]:
    """Its address, once it answers."""
    port = reserve_port()
    url = f"http://127.0.0.1:{port}"
    command = console_command(stage, port, *flags)
    with Process("console", command, directory=folder, environment=environment) as process:
        process.wait_until(lambda: _answers(url), deadline_seconds=60, what="answering")
        yield url


def console_command(stage: Stage, port: int, *flags: str) -> list[str]:
    return [
        *(sys.executable, "-m", "dormouse_console.cli", f"--port={port}"),
        *(f"--prometheus-url={stage.cluster.prometheus.url}", *flags),
    ]


def with_tokens(stage: Stage) -> tuple[str, ...]:
    """The flags of a console that has no rights of its own."""
    plane = stage.cluster.control_plane
    return f"--api-server={plane.url}", f"--api-server-ca={plane.directory / 'pki' / 'ca.crt'}"


def _answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"{url}/healthz", timeout=2, trust_env=False).is_success
    return False
