"""Figures that no honest pod has: too large, too small, not a number, not a figure at all."""

from __future__ import annotations

import json
import math
from typing import Any

from dormouse_contract import metrics
from dormouse_contract.wire import TransitionReport
from hypothesis import strategies as st

from ..bad import BadTenant
from ..drawn import drawn
from ..listener import response
from ..pod_talk import exposition, model_list, moved, replying, series, snapshot

POLICY = {"offloadAfterSeconds": 3, "minResidentSeconds": 0}
TABLE = (metrics.IN_FLIGHT, metrics.IDLE_SINCE, metrics.LAST_TRANSITION, metrics.RELEASED, metrics.GPU_MEMORY)
BY_HAND = ("1e308", "-1e308", "NaN", "+Inf", "-Inf", "1e18", "253402300800", "-62135596801", "0.5", "5e-324")
TIMES = (1e18, -1e18, 1e308, math.nan, math.inf, -math.inf, 253402300800, -62135596801, 10**400, "1_000", "٣", " 1")
DRAWN = 6


def two_models_of_1e308_bytes(bad: BadTenant) -> None:
    """Each figure is a number; their sum is none."""
    lines = [line for name in ("a", "b") for line in series(name, {metrics.RELEASED.name: "1e308"}, residency="CPU")]
    names = ("a", "b")
    bad.pod("sum", bad.serve(replying(lambda _: response(model_list(names))), lambda: exposition(lines)))
    bad.managed("sum", policy=POLICY)
    bad.scrape()


def figures_in_series(bad: BadTenant) -> None:
    """A pod for each figure of each metric, so that none hides behind another."""
    floats = [repr(value) for value in drawn(st.floats(), DRAWN)]
    cases = [(metric.name, text) for metric in TABLE for text in (*BY_HAND, *floats)]

    def make(number: int, metric: str, text: str) -> None:
        name = f"pod-{number}"
        listed = response(model_list(["main"]))
        ip = bad.serve(replying(lambda _: listed), lambda: exposition(series("main", {metric: text})))
        bad.pod(name, ip)
        bad.managed(name, policy=POLICY)

    bad.side_by_side(lambda n=n, case=case: make(n, *case) for n, case in enumerate(cases))
    bad.scrape()


def figures_on_the_wire(bad: BadTenant) -> None:
    """The last transition as hypothesis makes it of the wire's own type, and times and sizes by hand."""
    by_hand = [moved(time=each) for each in TIMES]
    by_hand += [moved(releasedBytes=each) for each in (10**400, -(10**400), 1e308, math.nan, "1_000", 2**63)]
    by_hand += [moved(seconds=each) for each in (1e308, -1.0, math.inf, 10**400)]
    for number, transition in enumerate([*by_hand, *drawn(transitions(), 4 * DRAWN)]):
        body = response(json.dumps({"models": [snapshot("main", lastTransition=transition)]}).encode())
        name = f"pod-{number}"
        ip = bad.serve(replying(lambda _, body=body: body), lambda: exposition(series("main", residency="CPU")))
        bad.pod(name, ip)
        bad.managed(name, policy=POLICY)
    bad.scrape()


def transitions() -> st.SearchStrategy[dict[str, Any]]:
    """Objects with the fields of a `TransitionReport`, each right or anything that JSON can say."""
    odd = st.one_of(
        st.floats(),
        st.integers(),
        st.sampled_from([2**63, 2**64, -(2**63), 10**30, 10**400]),
        st.text(max_size=40),
        st.none(),
        st.booleans(),
        st.lists(st.integers(), max_size=3),
    )
    right = moved()
    names = [str(field.alias or name) for name, field in TransitionReport.model_fields.items()]
    return st.fixed_dictionaries({name: st.one_of(st.just(right.get(name)), odd) for name in names})
