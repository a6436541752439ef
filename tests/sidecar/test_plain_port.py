"""Metrics and health: always there, for everyone, and nothing can be changed by them."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from dormouse_sidecar import Settings, Sidecar
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import Response

from tests.waiting import auntil

from .certificates import Credential
from .clients import MODELS, RESIDENCY, ask, look, metric, order
from .model_process import ModelProcess
from .mounted_trust import MountedTrust

PROBLEM = "application/problem+json"
UP = "dormouse_model_process_up"


async def test_metrics_are_the_model_process_own_and_the_sidecars(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential
) -> None:
    answer = await look(sidecar.plain.port, "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(answer.text))
    names = [family.name for family in families]
    assert sorted(names) == sorted(set(names))
    assert metric(answer.text, UP) == 1
    assert metric(answer.text, "dormouse_sidecar_trust_expiry_timestamp_seconds") == operator.expires_at
    assert metric(answer.text, "dormouse_model_in_flight_requests") == 0
    assert 'dormouse_build_info{version="9.9.9"} 1' in answer.text


async def test_without_the_model_process_the_metrics_say_so(closed_sidecar: Sidecar) -> None:
    text = (await look(closed_sidecar.plain.port, "/metrics")).text
    assert metric(text, UP) == 0
    assert metric(text, "dormouse_build_info") == 1
    assert "dormouse_model_in_flight_requests" not in text


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda: Response("broken", 500), id="error"),
        pytest.param(lambda: Response("<html>", media_type="text/html"), id="HTML"),
        pytest.param(lambda: Response(b"#" * (5 * 2**20), media_type="text/plain"), id="too large"),
    ],
)
async def test_metrics_that_are_none_are_left_out(
    sidecar: Sidecar, model_process: ModelProcess, made: Callable[[], Response]
) -> None:
    model_process.exposition = made
    text = (await look(sidecar.plain.port, "/metrics")).text
    assert metric(text, UP) == 0
    assert len(text) < 2000


async def test_metrics_without_a_last_newline_are_not_run_together(
    sidecar: Sidecar, model_process: ModelProcess
) -> None:
    model_process.exposition = lambda: Response("a 1", media_type="text/plain")
    text = (await look(sidecar.plain.port, "/metrics")).text
    assert (metric(text, "a"), metric(text, UP)) == (1, 1)


async def test_ready_is_what_the_model_process_says(sidecar: Sidecar, model_process: ModelProcess) -> None:
    assert (await look(sidecar.plain.port, "/readyz")).status_code == 200
    problem = {"title": "Draining", "status": 503, "detail": "draining", "reason": "CannotNow"}
    model_process.ready = lambda: Response(json.dumps(problem), 503, media_type=PROBLEM)
    answer = await look(sidecar.plain.port, "/readyz")
    assert answer.status_code == 503
    assert answer.json() == problem
    model_process.ready = lambda: Response("oops", 500)
    answer = await look(sidecar.plain.port, "/readyz")
    assert (answer.status_code, answer.json()["reason"]) == (503, "ModelProcessDown")


async def test_a_model_process_that_is_down_is_not_ready_and_takes_no_orders(
    sidecar: Sidecar, operator: Credential
) -> None:
    ready = await look(sidecar.plain.port, "/readyz")
    ordered = await ask(sidecar.control.port, operator, "PUT", RESIDENCY, json=order())
    for answer in (ready, ordered):
        assert answer.status_code == 503
        assert answer.headers["content-type"] == PROBLEM
        assert answer.json()["reason"] == "ModelProcessDown"
        assert int(answer.headers["retry-after"]) > 0
    assert (await look(sidecar.plain.port, "/healthz")).status_code == 200


async def test_a_model_process_that_hangs_is_given_up(
    settings: Settings,
    trust: MountedTrust,
    operator: Credential,
    model_process: ModelProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dormouse_sidecar.control._ANSWER_SECONDS", 0.2)
    model_process.hold = asyncio.Event()
    trust.publish(operator)
    async with Sidecar(settings) as sidecar:
        await auntil(lambda: sidecar.control.is_open)
        answer = await ask(sidecar.control.port, operator, "PUT", RESIDENCY, json=order())
        assert (answer.status_code, answer.json()["reason"]) == (503, "ModelProcessDown")
        assert "may or may not have been carried out" in answer.json()["detail"]
        model_process.hold.set()


async def test_a_restarted_model_process_is_found_again(
    sidecar: Sidecar, settings: Settings, operator: Credential
) -> None:
    for _ in range(2):
        process = ModelProcess(settings.socket_path)
        async with process.running():
            assert (await ask(sidecar.control.port, operator)).status_code == 200
            assert (await look(sidecar.plain.port, "/readyz")).status_code == 200
        assert (await look(sidecar.plain.port, "/readyz")).status_code == 503


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
async def test_nothing_but_looking_is_allowed(sidecar: Sidecar, model_process: ModelProcess, path: str) -> None:
    head = await look(sidecar.plain.port, path, "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = await look(sidecar.plain.port, path, method)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        assert answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize("path", ["/", MODELS, RESIDENCY, "/dormouse/metrics", "/metrics/", "/%6detrics"])
async def test_the_control_api_is_not_on_the_plain_port(
    sidecar: Sidecar, model_process: ModelProcess, method: str, path: str
) -> None:
    answer = await look(sidecar.plain.port, path, method)
    assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound")
    assert model_process.reached == 0


async def test_a_defect_is_answered_without_its_details(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    async with Sidecar(replace(settings)) as sidecar:

        async def fails(_: object) -> None:
            raise RuntimeError("the secret inside")

        sidecar.plain._handler = fails  # type: ignore[assignment]
        answer = await look(sidecar.plain.port, "/healthz")
    assert (answer.status_code, answer.json()["reason"]) == (500, "Internal")
    assert "secret" not in answer.text
    assert "the secret inside" in caplog.text
