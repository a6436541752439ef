"""`serve` under requests that never come whole: it goes on answering, and no model is held for them."""

import contextlib
import resource
from pathlib import Path

from tests.waiting import until

from .raw_http import connect
from .serving_process import Serving

HALF = b"GET /say/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: "
SLOW_BODY = b"POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nx"
FLAGS = ("--model", "tts=studio:load_tts", "--app", "studio:create_app", "--device", "sim:1MiB", "--idle-timeout", "1")


def _open_files(server: Serving) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def test_half_requests_end_and_slow_bodies_hold_no_model(project: Path) -> None:
    with Serving(project, *FLAGS) as server, contextlib.ExitStack() as held:
        before = _open_files(server)
        for _ in range(400):
            held.enter_context(connect(server.port)).sendall(HALF)
        assert server.get("/say/1").json() == 3
        slow = [held.enter_context(connect(server.port)) for _ in range(20)]
        for connection in slow:
            connection.sendall(SLOW_BODY)
        until(lambda: server.residency() == "CPU", 30)
        until(lambda: _open_files(server) <= before + len(slow) + 5, 30)
        assert server.get("/say/1").json() == 3


def test_serve_may_open_as_many_files_as_the_system_lets_it(project: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        with Serving(project, *FLAGS) as server:
            allowed = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
            assert allowed == (min(65_536, hard) if hard != resource.RLIM_INFINITY else 65_536, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
