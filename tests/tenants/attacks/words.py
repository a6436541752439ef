"""Texts that no honest pod has: lines of a log, commands for a terminal, paths, bytes that are no text, a megabyte."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from ..bad import BadTenant
from ..drawn import drawn
from ..listener import response
from ..pod_talk import exposition, moved, problem, replying, series, snapshot
from .numbers import POLICY

FORGED = "2026-01-01 00:00:00,000 CRITICAL dormouse_operator.app: the key was given away"
LINE = f"hello\n{FORGED}\nworld"
BY_HAND = (
    LINE,
    f"hello\r{FORGED}",
    f"hello\u2028{FORGED}\x85{FORGED}",
    "\x1b[2J\x1b[31mred\x1b]0;title\x07",
    "\x9b31m\x00\x08\x7f",
    "\u202eright to left\u2066",
    "../../../metrics",
    "a/b?c=d#e",
    "%2e%2e%2f%00",
    "x" * 300_000,
    "",
    " ",
    "Σ" * 64,
)
DRAWN = 12


def names_of_models(bad: BadTenant) -> None:
    """In series and in answers alike; what is ordered of them is refused with the same words."""
    names = [*BY_HAND, *drawn(st.text(max_size=80), DRAWN)]
    for number, name in enumerate(names):
        body = json.dumps({"models": [snapshot(name)]}).encode()
        answers = (response(body), problem(name))
        control = replying(lambda request, answers=answers: answers[request.method != "GET"])
        ip = bad.serve(control, lambda name=name: exposition(series(name)))
        bad.pod(f"pod-{number}", ip)
        bad.managed(f"pod-{number}", policy=POLICY)
    bad.scrape()


def reasons_and_details(bad: BadTenant) -> None:
    """The pod is reached, and refuses each order and each policy with words of its choice."""
    for number, text in enumerate([*BY_HAND, *drawn(st.text(max_size=2000), DRAWN)]):
        listed = {"models": [snapshot("main", lastTransition=moved(reason=text, trigger=text[:40]))]}
        get = response(json.dumps(listed).encode())
        refusals = [problem(text, status=status, reason=reason) for status, reason in _REFUSALS]
        put = refusals[number % len(refusals)]
        control = replying(lambda request, get=get, put=put: get if request.method == "GET" else put)
        ip = bad.serve(control, lambda: exposition(series("main")))
        bad.pod(f"pod-{number}", ip)
        bad.managed(f"pod-{number}", policy=POLICY)
    bad.scrape()


_REFUSALS = ((422, "BadBody"), (503, "CannotNow"), (409, "Dirty"), (418, "Teapot"), (404, "NoSuchModel"))


def answers_that_are_no_text(bad: BadTenant) -> None:
    """Bytes in the place of JSON, and JSON that means two things or nothing."""
    right = json.dumps({"models": [snapshot("main")]}).encode()
    bodies = [
        b"\xff\xfe\x00" * 100,
        right.replace(b'"main"', b'"\xc3\x28"'),
        right.replace(b'"main"', b'"\\ud800"'),
        right.replace(b'"models"', b'"models": [], "models"'),
        b"[" * 200_000,
        b'{"models":' * 100_000,
        b'{"models": {"name": "main"}}',
        b'{"models": [null, 1, "main", [], {}, {"name": null}, {"name": {}}]}',
        b"null",
        b"",
        *drawn(st.binary(max_size=2000), DRAWN),
    ]
    for number, body in enumerate(bodies):
        ip = bad.serve(replying(lambda _, body=body: response(body)), lambda: exposition(series("main")))
        bad.pod(f"pod-{number}", ip)
        bad.managed(f"pod-{number}", policy=POLICY)
    bad.scrape()


def a_new_reason_every_second(bad: BadTenant) -> None:
    """Fifty models move each second, and say why in words that were never said before."""
    names = [f"m-{number}" for number in range(50)]
    turn = 0

    def next_turn(number: int) -> None:
        nonlocal turn
        turn = number

    def listed() -> bytes:
        kept = [snapshot(name, lastTransition=moved(reason=f"{name} for the {turn}th time")) for name in names]
        return response(json.dumps({"models": kept}).encode())

    def metrics() -> bytes:
        values = {"dormouse_model_last_transition_timestamp_seconds": repr(moved()["time"])}
        return exposition(line for name in names for line in series(name, values))

    pod = replying(lambda request: listed() if request.method == "GET" else problem("busy"))
    bad.pod("spam", bad.serve(pod, metrics))
    bad.managed("spam", policy=POLICY)
    bad.scrape()
    bad.repeat(1, next_turn)
