"""What a client sends is no line of the server's log, whatever breaks on it."""

from __future__ import annotations

import pytest
from dormouse_modelserver.server.problems import ProblemRoute
from fastapi import APIRouter, FastAPI, Request
from fastapi.testclient import TestClient

FORGED = "2026-01-01 00:00:00,000 INFO dormouse: all is well"


@pytest.mark.parametrize(
    "path", [f"/x/a%0a{FORGED}", f"/x/a%0d%1b[2K{FORGED}", f"/x/%E2%80%A8{FORGED}", "/x/" + "a" * 9000]
)
def test_a_request_that_breaks_is_one_line_without_a_word_of_its_own(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    router = APIRouter(route_class=ProblemRoute)

    @router.get("/x/{name}")
    async def broken(name: str, request: Request) -> None:
        raise RuntimeError("a defect")

    app = FastAPI(openapi_url=None)
    app.include_router(router)
    answer = TestClient(app, raise_server_exceptions=False).get(path)
    assert answer.status_code in (404, 500)
    for record in caplog.records:
        message = record.getMessage()
        assert message.isprintable()
        assert len(message) < 400
    if answer.status_code == 500:
        assert any("broke" in record.getMessage() for record in caplog.records)
