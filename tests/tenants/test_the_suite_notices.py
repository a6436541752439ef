"""What is taken out of the operator is noticed; and a fault that nobody has thought of is held by what is in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from . import mutants, naming
from .attack import Attack, Named
from .attacks import planted, samples, silence, words
from .town import Town
from .verdict import LATE

FAULT = Attack("fault", planted.a_figure_that_a_formatter_does_not_take, Named(naming.DISBELIEVED.reasons))
DEAR = Attack("dear", planted.a_policy_that_is_dear_to_judge, Named(naming.TOO_DEAR.reasons))
WRITES = Attack("writes", planted.a_namespace_where_writes_hang, Named())
ORDERS = Attack("orders", silence.one_pod_of_300_models_that_takes_no_order, Named(), seconds=12)
SERIES = Attack("series", samples.series_by_the_hundred_thousand_without_a_managed_model, Named(), seconds=14)
TEXTS = Attack("texts", words.reasons_and_details, Named(), (words.FORGED,))
LOG = "log"


def ids(value: object) -> str:
    return value.__name__ if callable(value) else str(value)


@pytest.mark.parametrize(
    ("fault", "attack"),
    [
        (mutants.one_figure_that_a_formatter_does_not_take, FAULT),
        (mutants.one_policy_that_is_dear_to_judge, DEAR),
        (mutants.one_namespace_where_writes_hang, WRITES),
    ],
    ids=ids,
)
def test_a_fault_that_nobody_thought_of_harms_its_own_tenant_only(
    town: Town, fault: Callable[[], None], attack: Attack
) -> None:
    town.operated_by(mutants.program(fault.__name__))
    _, found = town.attacked_by(attack)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("mutations", "attack", "noticed"),
    [
        (
            (
                mutants.one_figure_that_a_formatter_does_not_take,
                # Each of the two is enough: a pass that ends early goes on where it ended.
                mutants.namespaces_by_their_names_and_not_in_turn,
                mutants.a_visit_that_fails_ends_the_pass,
            ),
            FAULT,
            LATE,
        ),
        ((mutants.one_policy_that_is_dear_to_judge, mutants.visits_without_a_limit_of_time), DEAR, LATE),
        ((mutants.calls_without_a_fair_share,), ORDERS, LATE),
        ((mutants.queries_for_all_namespaces,), SERIES, LATE),
        ((mutants.texts_as_they_come,), TEXTS, LOG),
    ],
    ids=lambda value: value[-1].__name__ if isinstance(value, tuple) else "",
)
def test_an_isolation_that_is_taken_out_is_noticed(
    town: Town, mutations: tuple[Callable[[], None], ...], attack: Attack, noticed: str
) -> None:
    town.operated_by(mutants.program(*(each.__name__ for each in mutations)))
    found = town.judge(attack, town.witness(attack))
    assert any(noticed in each for each in found), "\n".join(["nothing was noticed", *found])
