"""Ports are ours as long as we live, whether or not a server listens on them at the moment."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from localcluster import ports
from localcluster.ports import reserve_port

ROOT = Path(__file__).parents[2]


def test_two_are_never_the_same() -> None:
    chosen = [reserve_port() for _ in range(20)]
    assert len(set(chosen)) == 20


def test_they_lie_below_what_outgoing_connections_take() -> None:
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(ephemeral.read_text().split()[0]) if ephemeral.exists() else 49152
    assert reserve_port() < first


def test_another_process_does_not_get_one_that_is_reserved_here() -> None:
    port = reserve_port()
    script = (
        f"import localcluster.ports as p; p.FIRST = p.LAST = {port}\n"
        "try: p.reserve_port()\n"
        "except Exception as error: print(error)"
    )
    answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "No free port between" in answer.stdout


def test_one_that_somebody_listens_on_is_passed_over() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not ports._is_free("127.0.0.1", listener.getsockname()[1])
