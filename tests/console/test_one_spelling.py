"""The console's addresses have one spelling, so that a rule of a proxy in front of it holds."""

import pytest
from dormouse_console.app import create_app
from dormouse_console.callers import LocalCallers
from dormouse_console.timeseries import TimeSeries
from fastapi.testclient import TestClient


@pytest.fixture
def console() -> TestClient:
    """Whoever is let in gets an error of the API server, which is not there: no 404."""
    return TestClient(create_app(LocalCallers(None, "key"), TimeSeries(None)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "spelled", ["/%68ealthz", "/healthz%0a", "/page%2fapp.js", "/page/%61pp.js", "/ap%69/session", "/api%2fsession"]
)
def test_another_spelling_is_not_found(console: TestClient, spelled: str) -> None:
    answered = console.get(spelled)
    assert answered.status_code == 404
    assert answered.headers["content-type"].startswith("application/problem+json")


@pytest.mark.parametrize(("plain", "status"), [("/healthz", 200), ("/page/app.js", 200), ("/", 200), ("/?x=%2f", 200)])
def test_the_plain_spelling_is(console: TestClient, plain: str, status: int) -> None:
    assert console.get(plain).status_code == status


def test_who_asks_in_the_plain_spelling_is_asked_for_a_key(console: TestClient) -> None:
    assert console.get("/api/session").status_code in (401, 403)
