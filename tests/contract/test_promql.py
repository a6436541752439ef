"""Matchers hold the values that they are made of and no others, whatever these are."""

from __future__ import annotations

import pytest
from dormouse_contract import metrics
from dormouse_contract.promql.selection import EVERYTHING, Selection, equals, one_of

PODS = Selection(('namespace="speech"',), ('model="tts"',))


@pytest.mark.parametrize(
    ("matcher", "expected"),
    [
        (equals("pod", 'a"} or up{b="'), 'pod="a\\"} or up{b=\\""'),
        (equals("pod", "a\\"), 'pod="a\\\\"'),
        (equals("pod", "a\nb"), 'pod="a\\nb"'),
        (one_of("pod", ["tts-0", "a.b"]), 'pod=~"tts-0|a\\\\.b"'),
        (one_of("pod", ['a|b"', "\\"]), 'pod=~"a\\\\|b\\"|\\\\\\\\"'),
    ],
)
def test_no_value_ends_its_quotes_or_is_a_pattern(matcher: str, expected: str) -> None:
    assert matcher == expected


def test_only_series_of_models_are_chosen_by_model() -> None:
    assert PODS.series(metrics.RELEASED) == f'{metrics.RELEASED.name}{{namespace="speech", model="tts"}}'
    assert PODS.series(metrics.PROCESS_UP, 'pod="a"') == f'{metrics.PROCESS_UP.name}{{namespace="speech", pod="a"}}'
    assert EVERYTHING.series(metrics.WAKE_WAIT, suffix="_sum") == f"{metrics.WAKE_WAIT.name}_sum"
