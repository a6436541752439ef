"""The control routes against schemathesis and a fuzz of bad bodies: a problem, never a 500, and nothing has moved."""

import json
import re
from typing import Any

import hypothesis
import pytest
import schemathesis
from dormouse_contract.problems import PROBLEM_MEDIA_TYPE
from dormouse_contract.wire import MODEL_NAME_PATTERN
from dormouse_modelserver import ResidencyManager
from dormouse_modelserver.server.authority import anyone
from dormouse_modelserver.server.openapi import control_api
from dormouse_modelserver.server.routes import control_router
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import strategies as st

from tests.modelserver.lifecycle.conftest import load_doubler

_manager = ResidencyManager("sim:1MiB", socket="")
_manager.register("tts", load_doubler)
_app = FastAPI(openapi_url=None)
_app.include_router(control_router(_manager, "/dormouse", anyone))
schema = schemathesis.openapi.from_dict(control_api("/dormouse"))
schema.app = _app
_settled = hypothesis.settings(max_examples=60, suppress_health_check=list(hypothesis.HealthCheck), derandomize=True)


@pytest.mark.filterwarnings("ignore")
@schema.parametrize()
@_settled
def test_each_route_answers_as_its_description_says(case: schemathesis.Case) -> None:
    response = case.call()
    assert response.status_code < 500 or response.status_code == 503
    case.validate_response(response)


_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
_known = st.sampled_from(["desired", "trigger", "reason", "ifIdleForSeconds", "order", "podUID", "validForSeconds"])
_bodies = (
    st.binary(max_size=300)
    | _junk.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(_known, _junk, min_size=1, max_size=5).map(lambda value: json.dumps(value).encode())
    | st.just(b'{"desired": "CPU"' + b" " * 20_000 + b"}")
    | st.just(b"[" * 5_000)
)


@_settled
@hypothesis.given(body=_bodies, route=st.sampled_from(["residency", "policy"]), kind=st.sampled_from(["json", "text"]))
def test_a_bad_body_is_a_problem_and_moves_nothing(body: bytes, route: str, kind: str) -> None:
    before = _manager["tts"].snapshot()
    headers = {"content-type": "application/json" if kind == "json" else "text/plain"}
    with TestClient(_app, raise_server_exceptions=False) as client:
        response = client.put(f"/dormouse/v1/models/tts/{route}", content=body, headers=headers)
    if response.status_code in (200, 202):
        hypothesis.reject()  # it was a good one after all
    assert response.status_code in (409, 413, 415, 422), response.text
    assert response.headers["content-type"].startswith(PROBLEM_MEDIA_TYPE)
    problem: dict[str, Any] = response.json()
    assert problem["status"] == response.status_code
    assert problem["detail"]
    after = _manager["tts"].snapshot()
    assert (after.residency, after.transition, after.last_transition) == (
        before.residency,
        before.transition,
        before.last_transition,
    )


@_settled
@hypothesis.given(name=st.text(min_size=1, max_size=80).filter(lambda name: not re.match(MODEL_NAME_PATTERN, name)))
def test_a_name_that_no_model_can_have_is_answered_as_not_there(name: str) -> None:
    from urllib.parse import quote

    with TestClient(_app, raise_server_exceptions=False) as client:
        response = client.get(f"/dormouse/v1/models/{quote(name, safe='')}")
    assert response.status_code in (404, 405)
