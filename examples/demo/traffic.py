"""A client that asks in bursts with pauses, and checks each answer bit for bit."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field

import httpx

SENTENCES = (
    "A dormouse sleeps for half of the year.",
    "The best memory is the one that somebody else can use.",
    "GPU memory sits idle while nobody asks.",
    "榛睡鼠在冬天睡觉。",
    "Wake me up before you go-go.",
)
BURST_REQUESTS = 12
BETWEEN_REQUESTS_SECONDS = 0.25


@dataclass(slots=True)
class Answers:
    """Counted over all clients. A failed request is an error, a timeout or an answer that differs."""

    ok: int = 0
    failed: int = 0
    problems: list[str] = field(default_factory=list)
    _first: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, server: str, sentence: str, answer: list[float]) -> None:
        with self._lock:
            if self._first.setdefault((server, sentence), answer) == answer:
                self.ok += 1
            else:
                self._fail(f"{server}: another embedding than the first time for {sentence!r}")

    def fail(self, problem: str) -> None:
        with self._lock:
            self._fail(problem)

    def _fail(self, problem: str) -> None:
        self.failed += 1
        self.problems.append(problem)


class Client(threading.Thread):
    """One user of one server: a burst, a pause, and so on until `stop`.

    `pauses` in seconds are taken in turn; long enough ones let the model sink to host RAM or to disk.
    """

    def __init__(self, name: str, url: str, pauses: tuple[float, ...], answers: Answers) -> None:
        super().__init__(name=f"client-{name}", daemon=True)
        self._server, self._url, self._pauses, self._answers = name, url, pauses, answers
        self._stopped = threading.Event()

    def run(self) -> None:
        pauses, sentences = itertools.cycle(self._pauses), itertools.cycle(SENTENCES)
        with httpx.Client(base_url=self._url, timeout=60, trust_env=False) as http:
            while not self._stopped.is_set():
                for sentence in itertools.islice(sentences, BURST_REQUESTS):
                    self._ask(http, sentence)
                    if self._stopped.wait(BETWEEN_REQUESTS_SECONDS):
                        return
                self._stopped.wait(next(pauses))

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def _ask(self, http: httpx.Client, sentence: str) -> None:
        try:
            answer = http.post("/v1/embeddings", json={"input": sentence})
            answer.raise_for_status()
        except httpx.HTTPError as error:
            self._answers.fail(f"{self._server}: {type(error).__name__}: {error}")
            return
        self._answers.check(self._server, sentence, answer.json()["data"][0]["embedding"])
