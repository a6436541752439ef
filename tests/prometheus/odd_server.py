"""A little HTTP server that answers as Prometheus never should: whatever it is asked, the same."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NOW = 1_770_000_000.0
LABELS = {"namespace": "speech", "pod": "tts-0", "model": "tts", "residency": "GPU", "device": "cuda:0", "name": "tts"}
SAMPLE = {"__name__": "dormouse_model_residency", **LABELS}


@dataclass(frozen=True, slots=True)
class Odd:
    """`ranged` is what a range query gets, where that differs.

    shows: there are figures, perhaps without a bad series. cut: the connection ends before the body does.
    """

    name: str
    body: bytes = b""
    ranged: bytes | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    shows: bool = False
    cut: bool = False


def as_vector(*entries: Any, **more: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": entries}, **more}).encode()


def as_matrix(*entries: Any, **more: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": entries}, **more}).encode()


def of(data: Any) -> bytes:
    return json.dumps({"status": "success", "data": data}).encode()


def series(name: str, labels: Any, value: Any, at: Any = NOW, **more: Any) -> Odd:
    """One series, right in shape for both kinds of query, but for what is odd in it."""
    vector = as_vector({"metric": labels, "value": [at, value]})
    return Odd(name, vector, as_matrix({"metric": labels, "values": [[at, value]]}), **more)


DEEP = b"[" * 100_000
FAIR = as_vector({"metric": SAMPLE, "value": [NOW, "1"]})
ODD = (
    Odd("data is null", of(None)),
    Odd("no data", b'{"status": "success"}'),
    Odd("data is a list", of([])),
    Odd("a scalar", of({"resultType": "scalar", "result": [NOW, "1"]})),
    Odd("a string", of({"resultType": "string", "result": [NOW, "one"]})),
    Odd("a matrix for a vector", as_matrix({"metric": SAMPLE, "values": [[NOW, "1"]]}), FAIR),
    Odd("an unknown kind", of({"resultType": "tensor", "result": []})),
    Odd("the result is null", of({"resultType": "vector", "result": None})),
    Odd("the result is an object", of({"resultType": "vector", "result": {"metric": SAMPLE}})),
    Odd("a series is null", as_vector(None), as_matrix(None)),
    Odd("a series is a number", as_vector(7), as_matrix(7)),
    Odd("a series without a value", as_vector({"metric": SAMPLE}), as_matrix({"metric": SAMPLE})),
    series("labels are a list", [], "1"),
    series("labels are null", None, "1"),
    series("labels that are no text", {name: [value] for name, value in SAMPLE.items()}, "1", shows=True),
    series("a label is a number", SAMPLE | {"pod": 7}, "1", shows=True),
    series("a label is nested", SAMPLE | {"model": {"a": {"b": "c"}}}, "1", shows=True),
    series("no label at all", {}, "1", shows=True),
    series("an unknown residency", SAMPLE | {"residency": "Moon"}, "1", shows=True),
    series("no residency", {"__name__": "dormouse_model_residency", "model": "tts"}, "1", shows=True),
    series("a value that is no number", SAMPLE, "much"),
    series("a value that is null", SAMPLE, None),
    series("a value that is no text", SAMPLE, 1),
    series("a value that is a list", SAMPLE, ["1"]),
    series("not a number", SAMPLE, "NaN", shows=True),
    series("infinite", SAMPLE, "+Inf", shows=True),
    series("infinite downwards", SAMPLE, "-Inf", shows=True),
    series("huge", SAMPLE, "1.7e308", shows=True),
    series("huge downwards", SAMPLE, "-1.7e308", shows=True),
    series("in use by half a request", SAMPLE | {"__name__": "dormouse_model_in_flight_requests"}, "0.5", shows=True),
    series("a moment that no float holds", SAMPLE, "1", at=10**400),
    series("a moment that is infinite", SAMPLE, "1", at=float("inf")),
    series("a moment that is not a number", SAMPLE, "1", at=float("nan")),
    series("a moment that is null", SAMPLE, "1", at=None),
    series("a moment that is a list", SAMPLE, "1", at=[NOW]),
    Odd("warnings are a number", as_vector({"metric": SAMPLE, "value": [NOW, "1"]}, warnings=7)),
    Odd("warnings are nested", as_vector(warnings={"a": "b"}), as_matrix(warnings={"a": "b"})),
    Odd("nested too deep", DEEP),
    Odd("nested too deep within", b'{"status": "success", "data": ' + DEEP),
    Odd("an error that is nested", json.dumps({"status": "error", "error": {"a": ["b"]}}).encode()),
    Odd("64 MiB of nothing", b" " * (64 << 20)),
    Odd("64 MiB that are packed", gzip.compress(b" " * (64 << 20)), headers={"Content-Encoding": "gzip"}),
    Odd("packed and cut off", gzip.compress(FAIR)[:-20], headers={"Content-Encoding": "gzip"}),
    Odd("packed and broken", b"no gzip", headers={"Content-Encoding": "gzip"}),
    Odd("no text", b"\xff\xfe\x00"),
    Odd("a proxy's page", b"<html>Welcome</html>", headers={"Content-Type": "text/html"}),
    Odd("a proxy's error page", b"<html>Bad gateway</html>", status=502, headers={"Content-Type": "text/html"}),
    Odd("an error with 200", b'{"status": "error", "errorType": "bad_data", "error": "parse error"}'),
    Odd("an error with 422", b'{"status": "error", "errorType": "execution", "error": "too many"}', status=422),
    Odd("an error with 500", b"", status=500),
    Odd("a list", b"[1]"),
    Odd("a number", b"1e999"),
    Odd("empty", b""),
    Odd("no content", b"", status=204),
    Odd("half a body", FAIR[: len(FAIR) // 2]),
    Odd("cut off", FAIR, cut=True),
    Odd("a login page", status=302, headers={"Location": "https://sso.example/login?state=secret"}),
    Odd("a way back to itself", status=307, headers={"Location": "/api/v1/query"}),
    Odd("a way to nowhere", status=301, headers={"Location": "http://[x/"}),
    Odd("not let in", b"no", status=401),
    Odd("forbidden", b"no", status=403),
    Odd("throttled", b"slow down", status=429, headers={"Retry-After": "60"}),
    Odd("throttled until a date that is none", b"", status=429, headers={"Retry-After": "the next full moon"}),
    Odd("overloaded", b"", status=503, headers={"Retry-After": "60"}),
)


@contextmanager
def answering(odd: Odd) -> Iterator[str]:
    """Its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = odd.ranged if odd.ranged is not None and "query_range" in self.path else odd.body
            self.send_response(odd.status)
            for name, value in odd.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) + (100 if odd.cut else 0)))
            self.send_header("Connection", "close")
            self.end_headers()
            # Who has read enough hangs up.
            with suppress(OSError):
                self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
