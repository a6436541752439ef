"""Tests side by side: what shares a stage shares a worker."""

import pytest

from .conftest import APART, FIRST, TOGETHER, Scheduling


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("tests/loop/test_a.py::test_x", "tests/loop/test_b.py::test_y[1]", True),
        ("tests/crd/test_a.py::test_x", "tests/crd/test_a.py::test_y", True),
        ("tests/crd/test_a.py::test_x", "tests/crd/test_b.py::test_x", False),
        ("tests/operator/test_high_availability.py::test_x", "tests/operator/test_high_availability.py::test_y", False),
    ],
)
def test_who_shares_a_worker(one: str, other: str, together: bool) -> None:
    scope_of = Scheduling.__new__(Scheduling)._split_scope
    assert (scope_of(one) == scope_of(other)) is together


def test_what_is_named_here_is_there(pytestconfig: pytest.Config) -> None:
    tests = pytestconfig.rootpath / "tests"
    assert [name for name in (*TOGETHER, *APART, *FIRST) if not (tests / name).exists()] == []
