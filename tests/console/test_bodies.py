"""A change is made only where its body says one thing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from dormouse_console.app import create_app
from dormouse_console.callers import TokenCallers
from dormouse_console.timeseries import TimeSeries
from dormouse_prometheus.connection import PrometheusConnection
from dormouse_prometheus.settings import PrometheusSettings

CHANGE = "/api/models/speech/tts/change"


@pytest.fixture
async def changed() -> AsyncIterator[tuple[httpx.AsyncClient, list[httpx.Request]]]:
    """A console, and what reached the API server behind it."""
    reached: list[httpx.Request] = []

    def api_server(request: httpx.Request) -> httpx.Response:
        reached.append(request)
        return httpx.Response(200, json={"metadata": {"namespace": "speech", "name": "tts"}, "spec": {}})

    prometheus = PrometheusConnection(PrometheusSettings("http://127.0.0.1:9"))
    async with httpx.AsyncClient(transport=httpx.MockTransport(api_server), base_url="https://api") as cluster:
        app = create_app(TokenCallers(cluster), TimeSeries(prometheus))
        headers = {"Authorization": "Bearer me", "Content-Type": "application/json"}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://console", headers=headers) as http:
            yield http, reached
    await prometheus.close()


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"change": "offload", "change": "wake"}', "change"),
        (b'{"change": "pin", "until": "2027-01-01T00:00:00Z", "\\u0075ntil": null}', "until"),
    ],
)
async def test_a_body_that_gives_a_key_twice_changes_nothing(
    changed: tuple[httpx.AsyncClient, list[httpx.Request]], body: bytes, key: str
) -> None:
    http, reached = changed
    refused = await http.post(CHANGE, content=body)
    assert refused.status_code == 422
    assert f"the key '{key}' is given twice" in refused.json()["detail"]
    assert not reached
    assert (await http.post(CHANGE, content=b'{"change": "wake"}')).status_code == 200
    assert [request.method for request in reached] == ["PATCH"]
