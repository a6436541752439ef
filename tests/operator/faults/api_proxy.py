"""Stands between the operator's process and the real API server, and breaks what a test says.

TLS on both sides, with a certificate authority of its own. It sees each request, so that a test can count
writes, and can stop the world between a side effect and its answer.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from localcluster.controlplane import ControlPlane
from localcluster.kubeconfig import write_kubeconfig
from localcluster.pki import CertificateAuthority

HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length"}


@dataclass(frozen=True)
class Seen:
    """One request as it came. `watch` is a stream that stays open."""

    method: str
    path: str
    at: float

    @property
    def watch(self) -> bool:
        return "watch=true" in self.path

    @property
    def writes(self) -> bool:
        """A write that a user could see; the Lease is renewed all the time, and is meant to be."""
        return self.method != "GET" and "/leases" not in self.path and "/selfsubject" not in self.path

    def about(self, part: str) -> bool:
        return f"/{part}" in self.path


@dataclass(frozen=True)
class Broken:
    """What becomes of a request instead. `status` None: the connection is closed without a word.

    A watch is answered 200 all the same and gets the status as its only event, as the API server does it.
    """

    status: int | None = None
    after_seconds: float = 0.0
    pass_on: bool = False
    retry_after: int | None = None


Fault = Callable[[Seen], Broken | None]


class ApiProxy:
    """`fault` is asked for each request; `done` is told of each that the API server has carried out."""

    def __init__(self, control_plane: ControlPlane, directory: Path) -> None:
        self.requests: list[Seen] = []
        self.fault: Fault = lambda _: None
        self.done: Callable[[Seen, int], None] = lambda *_: None
        self.mangle: Callable[[list[bytes]], list[bytes]] = lambda lines: lines
        self._authority = CertificateAuthority(directory / "proxy-pki")
        self._upstream = control_plane.url.removeprefix("https://")
        self._upstream_tls = ssl.create_default_context(cafile=str(control_plane._authority.certificate))
        self._streams: set[socket.socket] = set()
        served = self._authority.issue("proxy", common_name="kube-apiserver")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(served.certificate, served.key)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def kubeconfig(self, control_plane: ControlPlane, namespace: str, account: str, path: Path) -> Path:
        """As that ServiceAccount, by way of this proxy."""
        token = control_plane.api.service_account_token(namespace, account, 86400)
        return write_kubeconfig(
            path, server=self.url, ca=self._authority.certificate, user=account, credentials=token, namespace=namespace
        )

    @property
    def writes(self) -> list[Seen]:
        return [each for each in list(self.requests) if each.writes]

    @property
    def watching(self) -> int:
        return len(self._streams)

    def cut_watches(self) -> int:
        """As a load balancer that was restarted; returns how many there were."""
        streams = list(self._streams)
        for stream in streams:
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
        return len(streams)

    def close(self) -> None:
        self.cut_watches()
        self._server.shutdown()
        self._server.server_close()

    def _connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._upstream, context=self._upstream_tls, timeout=300)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An operator that was killed leaves broken connections; that is what the tests are about."""


def _handler(proxy: ApiProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            seen = Seen(self.command, self.path, time.monotonic())
            proxy.requests.append(seen)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            broken = proxy.fault(seen)
            if broken is not None:
                time.sleep(broken.after_seconds)
                if not broken.pass_on:
                    self._break(broken, seen)
                    return
            self._pass_on(seen, body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815 - names of http.server

        def _break(self, broken: Broken, seen: Seen) -> None:
            if broken.status is None:
                self.close_connection = True
                return
            kind = b'{"kind":"Status","apiVersion":"v1","status":"Failure","message":"broken on purpose","code":%d}'
            text = kind % broken.status
            gone = seen.watch and broken.status == 410
            if gone:
                text = b'{"type":"ERROR","object":%b}\n' % text
            self.send_response(200 if gone else broken.status)
            if broken.retry_after is not None:
                self.send_header("Retry-After", str(broken.retry_after))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _pass_on(self, seen: Seen, body: bytes) -> None:
            upstream = proxy._connect()
            try:
                headers = {k: v for k, v in self.headers.items() if k.lower() not in (*HOP_BY_HOP, "host")}
                headers["Accept-Encoding"] = "identity"
                upstream.request(self.command, self.path, body or None, headers)
                answer = upstream.getresponse()
                if seen.watch:
                    self._stream(upstream, answer)
                    return
                content = answer.read()
                proxy.done(seen, answer.status)
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                self.close_connection = True
            finally:
                upstream.close()

        def _stream(self, upstream: http.client.HTTPSConnection, answer: http.client.HTTPResponse) -> None:
            self.close_connection = True
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Connection", "close")
            self.end_headers()
            streams = {upstream.sock, self.connection} - {None}
            proxy._streams |= streams
            try:
                while line := answer.readline():
                    for each in proxy.mangle([line]):
                        self.wfile.write(each)
                        self.wfile.flush()
            except (OSError, ValueError, http.client.HTTPException):
                pass
            finally:
                proxy._streams -= streams

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    return Handler
