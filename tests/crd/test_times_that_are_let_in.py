"""What the API server takes for a time is read as that time, or is a problem that a condition shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dormouse_contract import Residency
from dormouse_contract.managed_model import managed_model

from localcluster import ControlPlane
from localcluster.errors import ApiRefused

PATH = "/apis/dormouse.dev/v1alpha1/namespaces/{}/managedmodels"
NEW_YEAR = 1_798_761_600.0
UNDERSTOOD = (
    *("2027-01-01T00:00:00Z", "2027-01-01t00:00:00z", "2027-01-01T00:00:00.000000001Z", "2027-01-01T08:00:00+08:00"),
    *("2027-01-01T00:00:00-00:00", "2026-12-31t20:30:00.0-03:30", "2026-12-31T23:59:60Z"),
)
# The API server's own pattern is wider than RFC 3339: any character before the fraction, any offset, the year 0.
ODD = (
    *("2027-01-01T00:00:00,5Z", "2027-01-01T00:00:00x5Z", "2027-01-01T00:00:00+99:99", "0000-01-01T00:00:00Z"),
    *("2027-01-01T00:00:00ZT", "2027-01-01", "2027-01-01T00:00:00", "2027-01-01 00:00:00Z", "2027-02-29T00:00:00Z"),
)


@pytest.fixture
def put(control_plane: ControlPlane, namespace: str) -> Callable[[str], dict[str, Any] | None]:
    """The object with such an end of its pin as the API server keeps it; None when it refuses it."""

    def run(until: str) -> dict[str, Any] | None:
        spec = {"selector": {"matchLabels": {"app": "tts"}}, "residency": "GPU", "residencyUntil": until}
        body = {
            "apiVersion": "dormouse.dev/v1alpha1",
            "kind": "ManagedModel",
            "metadata": {"generateName": "tts-"},
            "spec": spec,
        }
        try:
            return control_plane.api.request("POST", PATH.format(namespace), body)
        except ApiRefused as error:
            if error.status != 422:
                raise
            return None

    return run


@pytest.mark.parametrize("until", UNDERSTOOD)
def test_a_time_of_rfc_3339_ends_the_pin(put: Callable[[str], dict[str, Any] | None], until: str) -> None:
    body = put(until)
    if body is None:
        assert ":60" in until, "only leap seconds are refused"
        return
    read = managed_model(body)
    assert read.problems == ()
    assert read.policy.residency_until == pytest.approx(NEW_YEAR, abs=1e-6)


def test_some_odd_times_are_let_in_and_none_of_them_pins_for_ever(
    put: Callable[[str], dict[str, Any] | None],
) -> None:
    let_in = {until: managed_model(body) for until in ODD if (body := put(until)) is not None}
    assert let_in, "or this test shows nothing"
    for until, read in let_in.items():
        assert read.policy.residency is not Residency.GPU or read.policy.residency_until is not None, until
        assert [problem.reason for problem in read.problems] == ["InvalidSpec"], until
