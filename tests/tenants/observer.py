"""Looks at the operator from outside while a test goes on: `/healthz`, `/metrics` and its log."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from prometheus_client.parser import text_string_to_metric_families

from .verdict import Health

EVERY_SECONDS = 0.5
# As a kubelet's probe that waits for longer than its default of one second.
HEALTH_TIMEOUT_SECONDS = 3.0


class Observer:
    """From `with` on, `health` fills; `lines` are what the log got since then."""

    def __init__(self, metrics_port: int, log: Path) -> None:
        self._url = f"http://127.0.0.1:{metrics_port}"
        self._log = log
        self._from = log.stat().st_size if log.exists() else 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.health: list[Health] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(timeout=2 * HEALTH_TIMEOUT_SECONDS)

    def lines(self) -> list[str]:
        with self._log.open("rb") as file:
            file.seek(self._from)
            # Not `splitlines`, which takes more than a newline for the end of a line.
            return file.read().decode(errors="replace").split("\n")[:-1]

    def shown(self, names: tuple[str, ...], namespace: str) -> bool:
        """Whether one of these metrics names the namespace with a value above 0."""
        with suppress(httpx.HTTPError):
            text = httpx.get(f"{self._url}/metrics", timeout=HEALTH_TIMEOUT_SECONDS, trust_env=False).text
            return any(
                sample.name in names and sample.labels.get("namespace") == namespace and sample.value > 0
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            )
        return False

    def _look(self) -> None:
        with httpx.Client(timeout=HEALTH_TIMEOUT_SECONDS, trust_env=False) as http:
            while not self._end.is_set():
                began = time.monotonic()
                try:
                    status = http.get(f"{self._url}/healthz").status_code
                except httpx.HTTPError:
                    status = 0
                self.health.append(Health(status, time.monotonic() - began))
                self._end.wait(max(0.0, EVERY_SECONDS - (time.monotonic() - began)))
