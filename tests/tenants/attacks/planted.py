"""What trips the faults that `mutants.py` plants: each is harmless to an operator without them."""

from __future__ import annotations

from dormouse_contract import metrics

from ..bad import BadTenant
from ..listener import response
from ..mutants import DEAR_SECONDS, FAULTY_BYTES
from ..pod_talk import exposition, model_list, models_of, polite, replying, series
from .numbers import POLICY


def a_figure_that_a_formatter_does_not_take(bad: BadTenant) -> None:
    lines = series("main", {metrics.RELEASED.name: repr(FAULTY_BYTES)}, residency="CPU")
    ip = bad.serve(replying(lambda _: response(model_list(["main"]))), lambda: exposition(lines))
    for number in range(10):
        bad.pod(f"pod-{number}", ip)
        bad.managed(f"pod-{number}", policy=POLICY)
    bad.scrape()


def a_policy_that_is_dear_to_judge(bad: BadTenant) -> None:
    """Ten of them, each for ten models."""
    models = [f"m-{number}" for number in range(10)]
    ip = bad.serve(polite(models), models_of(models))
    for number in range(10):
        bad.pod(f"pod-{number}", ip)
        bad.managed(f"pod-{number}", policy=POLICY | {"minResidentSeconds": DEAR_SECONDS})
    bad.scrape()


def a_namespace_where_writes_hang(bad: BadTenant) -> None:
    """The attack's own name is in the path of each write."""
    bad.pod("pod", bad.serve(polite(["main"]), models_of(["main"])))
    bad.managed("pod", policy=POLICY)
    bad.scrape()
