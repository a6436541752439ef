"""The page for the person on call knows every reason that a condition can have, and its links lead somewhere."""

import re
from pathlib import Path

import pytest
from dormouse_contract.idleness import SignalState
from dormouse_operator.reporting import conditions

from .pages import DOCS, anchors, code, read, rows, without_code

TYPES = {conditions.READY, conditions.IDLE_SIGNAL_AVAILABLE, conditions.REPLICAS_REACHABLE}
REASONS = {value for name, value in vars(conditions).items() if name.isupper() and isinstance(value, str)} - TYPES
# Reasons of the two other conditions only.
NOT_OF_READY = {conditions.REACHABLE, str(SignalState.FRESH), str(SignalState.DIRECT)}


def test_the_ladder_has_each_reason_of_ready_with_what_to_do() -> None:
    ladder = list(rows(read("failure-modes.md"), "Ready", "reason"))
    named = {reason for row in ladder for reason in code(row["reason"])}
    assert named == (REASONS | set(map(str, SignalState))) - NOT_OF_READY
    assert all(row["what to do"] for row in ladder)


def test_the_ladder_is_in_the_order_in_which_reasons_are_looked_for() -> None:
    assert conditions.__doc__ is not None
    told = re.findall(r"^    (?:False|True|Unknown) +(\w+)", conditions.__doc__, re.MULTILINE)
    page = [code(row["reason"])[0] for row in rows(read("failure-modes.md"), "Ready", "reason")]
    positions = [page.index(reason) for reason in told if reason != conditions.OBSERVING]
    assert positions == sorted(positions)


def test_every_reason_appears() -> None:
    text = read("failure-modes.md")
    assert [reason for reason in sorted(REASONS | set(map(str, SignalState))) if f"`{reason}`" not in text] == []


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", without_code(page.read_text())):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text()), target
