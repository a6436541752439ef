"""A new rule of the policy, or a new field of the spec, fails until each place that must know it does."""

from collections.abc import Callable

import pytest

from .fields import places_of_a_field, places_of_a_rule, rules, spec_fields

IMAGINARY = "imaginarySeconds"
OF_A_RULE = [pytest.param(has, id=name) for name, has in places_of_a_rule()]
OF_A_FIELD = [pytest.param(has, id=name) for name, has in places_of_a_field()]


@pytest.mark.parametrize("has", OF_A_RULE)
def test_each_rule_of_the_policy_is_there(has: Callable[[str], bool]) -> None:
    assert [name for name in rules() if not has(name)] == []


@pytest.mark.parametrize("has", OF_A_FIELD)
def test_each_field_of_the_spec_is_there(has: Callable[[str], bool]) -> None:
    assert [name for name in spec_fields() if not has(name)] == []


@pytest.mark.parametrize("has", [*OF_A_RULE, *OF_A_FIELD])
def test_a_field_that_nobody_put_there_is_missed(has: Callable[[str], bool]) -> None:
    assert not has(IMAGINARY)


def test_the_rules_are_fields_of_the_spec() -> None:
    assert set(rules()) <= set(spec_fields())
    assert len(rules()) > 7
