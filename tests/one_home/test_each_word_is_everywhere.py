"""A word that travels has one home, and each place that must know it is walked: a new one fails until it is there."""

from collections.abc import Callable
from enum import Enum

import pytest
from dormouse_contract import Mode, RequestOutcome, Residency, TransitionOutcome, Trigger
from dormouse_contract.ports import Port
from dormouse_contract.problems import ProblemReason
from dormouse_modelserver.lifecycle.registry import NotReady

from .places import places_of

KINDS: list[type[Enum]] = [Residency, Trigger, TransitionOutcome, RequestOutcome, Mode, ProblemReason, Port, NotReady]
EVERYWHERE = [pytest.param(kind, has, id=f"{kind.__name__}-{name}") for kind in KINDS for name, has in places_of(kind)]


def lacking(words: list[str], has: Callable[[str], bool]) -> list[str]:
    return [word for word in words if not has(word)]


def members(kind: type[Enum]) -> list[str]:
    return [str(member.value) for member in kind]


@pytest.mark.parametrize(("kind", "has"), EVERYWHERE)
def test_every_member_is_there(kind: type[Enum], has: Callable[[str], bool]) -> None:
    assert lacking(members(kind), has) == []


@pytest.mark.parametrize(("kind", "has"), EVERYWHERE)
def test_a_member_that_nobody_put_there_is_missed(kind: type[Enum], has: Callable[[str], bool]) -> None:
    imaginary = {Port: "7999"}.get(kind, "Imaginary")
    assert lacking([*members(kind), imaginary], has) == [imaginary]


@pytest.mark.parametrize("kind", KINDS)
def test_no_place_is_walked_twice(kind: type[Enum]) -> None:
    names = [name for name, _ in places_of(kind)]
    assert len(names) == len(set(names)) > 1
