"""Times as the API server lets them in, and as we write them."""

from __future__ import annotations

import math

import pytest
from dormouse_contract.timestamps import from_rfc3339, from_rfc3339_or_none, to_rfc3339, to_rfc3339_micro
from hypothesis import given
from hypothesis import strategies as st

NEW_YEAR = 1_798_761_600.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2027-01-01T00:00:00Z", NEW_YEAR),
        ("2027-01-01t00:00:00z", NEW_YEAR),
        ("2027-01-01 00:00:00Z", NEW_YEAR),
        ("2027-01-01T00:00:00.5Z", NEW_YEAR + 0.5),
        ("2027-01-01T00:00:00.123456789Z", NEW_YEAR + 0.123456789),
        ("2027-01-01T08:00:00+08:00", NEW_YEAR),
        ("2026-12-31T20:30:00-03:30", NEW_YEAR),
        ("2027-01-01T00:00:00-00:00", NEW_YEAR),
        ("2027-01-01t00:00:00.0+00:00", NEW_YEAR),
        ("2026-12-31T23:59:60Z", NEW_YEAR),
        ("2016-12-31T23:59:60.5Z", 1_483_228_800.5),
        ("0001-01-01T00:00:00+23:59", -62_135_596_800.0 - 86_340),
        ("9999-12-31T23:59:59-23:59", 253_402_300_799.0 + 86_340),
    ],
)
def test_each_time_of_rfc_3339_is_understood(text: str, seconds: float) -> None:
    assert from_rfc3339(text) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "2027-01-01", "00:00:00Z", "2027-01-01T00:00:00", "2027-01-01T00:00Z", "20270101T000000Z"),
        *("2027-02-29T00:00:00Z", "2027-01-01T24:00:00Z", "2027-01-01T00:60:00Z", "2027-01-01T00:00:61Z"),
        *("0000-01-01T00:00:00Z", "2027-01-01T00:00:00+24:00", "2027-01-01T00:00:00+08:60", "2027-01-01T00:00:00+0800"),
        *("2027-01-01T00:00:00,5Z", "2027-01-01T00:00:00.Z", "２０２７-01-01T00:00:00Z", "2027-01-01T00:00:00Z\n"),
    ],
)
def test_what_is_no_time_is_none_and_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="no time"):
        from_rfc3339(text)
    assert from_rfc3339_or_none(text) is None


@given(st.floats(0, 253_402_300_799))
def test_what_is_written_can_be_read(moment: float) -> None:
    assert from_rfc3339(to_rfc3339(moment)) == math.floor(moment)
    assert from_rfc3339(to_rfc3339_micro(moment)) == pytest.approx(moment, abs=1e-3)


@pytest.mark.parametrize("moment", [math.nan, math.inf, -math.inf, -1.0, 1e300])
def test_a_moment_that_no_calendar_has_is_written_all_the_same(moment: float) -> None:
    assert from_rfc3339_or_none(to_rfc3339(moment)) is not None
    assert from_rfc3339_or_none(to_rfc3339_micro(moment)) is not None
