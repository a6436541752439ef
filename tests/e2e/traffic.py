"""Requests through the Service, as clients send them: each on a new connection, each judged by its answer."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

SENTENCE = "a dormouse sleeps"
# A cold wake on a busy machine takes seconds; what is longer counts as failed.
REQUEST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """`sent` and `took` in seconds, `sent` on the monotonic clock; `failure` is empty when all was well."""

    sent: float
    took: float
    embedding: tuple[float, ...] = ()
    failure: str = ""


def ask(url: str) -> Answer:
    """One request. Never raises: a failure is a finding."""
    began = time.monotonic()
    try:
        response = httpx.post(
            f"{url}/v1/embeddings", json={"input": SENTENCE}, timeout=REQUEST_SECONDS, trust_env=False
        )
        took = time.monotonic() - began
        if response.status_code != 200:
            return Answer(began, took, failure=f"{response.status_code} {response.text[:200]}")
        return Answer(began, took, tuple(response.json()["data"][0]["embedding"]))
    except (httpx.HTTPError, KeyError, ValueError) as error:
        return Answer(began, time.monotonic() - began, failure=f"{type(error).__name__}: {error}")


class Traffic:
    """`with Traffic(url) as traffic:` a request every `every` seconds from each of `clients` until the end."""

    def __init__(self, url: str, *, clients: int = 3, every: float = 0.3) -> None:
        self._url = url
        self._every = every
        self._stop = threading.Event()
        self._answers: list[Answer] = []
        self._threads = [threading.Thread(target=self._client, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(REQUEST_SECONDS + 5)

    @property
    def answers(self) -> list[Answer]:
        return list(self._answers)

    @property
    def failures(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.failure]

    def _client(self) -> None:
        while not self._stop.is_set():
            self._answers.append(ask(self._url))
            self._stop.wait(self._every)
