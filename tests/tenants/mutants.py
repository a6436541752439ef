"""The operator with something taken out or broken, to prove that the suite notices: `python -m tests.tenants.mutants`.

The first argument names the mutations, joined by `+`; the others are the operator's own. What a mutation changes must
be there, so one that has come to nothing fails by its name instead of proving nothing.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import sys
import time
from collections.abc import Callable
from typing import Any

# What trips the planted faults: in the released bytes, in a policy, in a namespace's name.
FAULTY_BYTES = 66_666_666.0
DEAR_SECONDS = 6_666
HANGING = "bad-writes"
DEAR_CPU_SECONDS = 0.1


def program(*mutations: str) -> tuple[str, ...]:
    """What Python is to run."""
    return ("-m", __name__, "+".join(mutations))


def one_figure_that_a_formatter_does_not_take() -> None:
    """In place of the next one that nobody has thought of."""

    def broken(original: Callable[[float], str]) -> Callable[[float], str]:
        def as_quantity(value: float) -> str:
            if value == FAULTY_BYTES:
                raise OverflowError("a figure that a formatter does not take")
            return original(value)

        return as_quantity

    _replace("dormouse_operator.reporting.summary", "as_quantity", broken)


def one_policy_that_is_dear_to_judge() -> None:
    """In place of the next one: a tenth of a second for each replica, at each look."""

    def dear(original: Callable[..., Any]) -> Callable[..., Any]:
        def plan(policy: Any, *rest: Any) -> Any:
            until = time.thread_time() + DEAR_CPU_SECONDS
            while policy.min_resident_seconds == DEAR_SECONDS and time.thread_time() < until:
                pass
            return original(policy, *rest)

        return plan

    _replace("dormouse_operator.view", "plan", dear)


def one_namespace_where_writes_hang() -> None:
    """As an admission webhook of the tenant makes them, until the API server gives up."""

    def hanging(original: Callable[..., Any]) -> Callable[..., Any]:
        async def request(self: Any, method: str, path: str, *rest: Any, **more: Any) -> Any:
            if HANGING in path and method != "GET":
                await asyncio.sleep(10)
            return await original(self, method, path, *rest, **more)

        return request

    _replace("dormouse_operator.cluster.kube.Kube", "request", hanging)


def a_visit_that_fails_ends_the_pass() -> None:
    def raising(_: Any) -> Callable[..., None]:
        def failed(*__: Any) -> None:
            raise RuntimeError("nobody catches it") from sys.exc_info()[1]

        return failed

    _replace("dormouse_operator.reconciler.Reconciler", "_failed", raising)


def namespaces_by_their_names_and_not_in_turn() -> None:
    def without_the_time(original: Callable[..., None]) -> Callable[..., None]:
        return lambda self, namespace, _: original(self, namespace, 0.0)

    _replace("dormouse_operator.waiting_visits.WaitingVisits", "took", without_the_time)


def visits_without_a_limit_of_time() -> None:
    async def never(self: Any) -> None:
        pass

    _replace("dormouse_operator.reconciler", "VISIT_SECONDS", lambda _: math.inf)
    _replace("dormouse_operator.turn.Turn", "pause", lambda _: never)


def calls_without_a_fair_share() -> None:
    """One queue for all, first come, first served."""

    def unfair(original: Callable[..., None]) -> Callable[..., None]:
        def made(self: Any, total: int, *_: int) -> None:
            original(self, total, total, total)

        return made

    _replace("dormouse_operator.workqueue.places.Places", "__init__", unfair)
    _replace("dormouse_operator.workqueue.queue.WorkQueue", "_heard", lambda _: lambda *__: None)


def queries_for_all_namespaces() -> None:
    """As if nobody asked only for those that have ManagedModels."""
    for name in ("residencies", "columns"):
        _replace("dormouse_contract.promql.idle_signal", name, lambda original: lambda *_: original())


def texts_as_they_come() -> None:
    _replace("dormouse_contract.printable", "printable", lambda _: lambda text, *__, **___: str(text))


def _replace(owner: str, name: str, change: Callable[[Any], Any]) -> None:
    """`owner`: a module, or a class or object in one. Raises where it or `name` is missing."""
    found = _find(owner)
    setattr(found, name, change(getattr(found, name)))


def _find(path: str) -> Any:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        parent, _, name = path.rpartition(".")
        if error.name != path or not parent:
            raise
        return getattr(importlib.import_module(parent), name)


def main() -> int:
    for name in sys.argv[1].split("+"):
        globals()[name]()
    # Imported late: what is imported by name must be changed before.
    from dormouse_operator import cli

    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
