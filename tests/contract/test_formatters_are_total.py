"""Each number of each kind can be written, so that no figure of a pod ends what is done for others."""

from __future__ import annotations

import math
import re

import pytest
from dormouse_contract.quantity import as_quantity, from_quantity, positive
from dormouse_contract.timestamps import from_rfc3339, to_rfc3339, to_rfc3339_micro
from hypothesis import example, given
from hypothesis import strategies as st

HUGE = 10**400
numbers = st.floats() | st.integers() | st.sampled_from([HUGE, -HUGE, math.inf, -math.inf, math.nan, 1e308, -1e308])
# As the API server takes one (resource.Quantity), and no longer than the CRD has room for.
QUANTITY = re.compile(r"[0-9]+(\.[0-9])?(Ki|Mi|Gi|Ti|Pi|Ei)?")


@given(numbers)
@example(1e308 + 1e308)
@example(253_402_300_799.9999999)
def test_any_number_is_a_time_and_a_quantity(number: float) -> None:
    assert 0 <= from_rfc3339(to_rfc3339(number)) <= 253_402_300_799
    assert 0 <= from_rfc3339(to_rfc3339_micro(number)) <= 253_402_300_799
    written = as_quantity(number)
    assert QUANTITY.fullmatch(written)
    assert len(written) <= 32
    assert written == "0" or from_quantity(written) <= 2**63


@given(st.integers(1, 2**53))
def test_a_quantity_claims_no_more_than_there_is(count: int) -> None:
    assert count * 0.9 - 1 <= from_quantity(as_quantity(count)) <= count


@pytest.mark.parametrize(
    "text", ["1_000", "٣", "٣Gi", "+1", "1e309", "9" * 33, "1e300Ei", "0x1", "inf", "nan", "-1", "0", "", "Gi", "1 0Gi"]
)
def test_what_is_no_number_is_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text is the message
        from_quantity(text)
    with pytest.raises(ValueError):  # noqa: PT011
        positive(text)


@pytest.mark.parametrize(("text", "size"), [("80Gi", 80 * 2**30), (" 80G ", 80e9), ("1.5Ki", 1536), ("1e3", 1000)])
def test_a_quantity_is_what_people_write(text: str, size: float) -> None:
    assert from_quantity(text) == size
