"""What becomes of an order: checked here, passed on only when it is whole, valid and for this pod."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from dormouse_contract.wire import MAX_BODY_BYTES, PolicyLoan, ResidencyOrder
from dormouse_sidecar import Sidecar
from starlette.responses import Response

from .certificates import Credential
from .clients import MODELS, POD_UID, POLICY, RESIDENCY, ask, connected, loan, order
from .model_process import ModelProcess

pytestmark = pytest.mark.usefixtures("model_process")
PROBLEM = "application/problem+json"


def assert_problem(answer: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["reason"], body["type"]) == (status, reason, "about:blank")
    assert body["title"]
    assert body["detail"]
    return body


async def test_a_residency_order_is_passed_on_as_it_was_meant(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential
) -> None:
    answer = await ask(sidecar.control.port, operator, "PUT", RESIDENCY, json=order())
    assert answer.status_code == 202
    assert answer.json()["residency"] == "CPU"
    assert answer.headers["connection"] == "close"
    assert model_process.orders == [ResidencyOrder.model_validate(order())]


async def test_a_policy_is_passed_on_and_what_was_left_out_stays_out(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential
) -> None:
    answer = await ask(sidecar.control.port, operator, "PUT", POLICY, json=loan())
    assert answer.status_code == 202
    (received,) = model_process.orders
    assert received == PolicyLoan.model_validate(loan())
    assert received.model_fields_set == PolicyLoan.model_validate(loan()).model_fields_set


@pytest.mark.parametrize("path", [MODELS, MODELS + "/tts"])
async def test_questions_are_passed_on(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential, path: str
) -> None:
    answer = await ask(sidecar.control.port, operator, path=path)
    assert answer.status_code == 200
    assert model_process.questions == [path]


@pytest.mark.parametrize("body", [order, loan], ids=["residency", "policy"])
@pytest.mark.parametrize("missing", ["order", "podUID"])
async def test_an_order_without_its_stamp_or_pod_is_refused_with_a_sentence(
    sidecar: Sidecar,
    model_process: ModelProcess,
    operator: Credential,
    body: Callable[..., dict[str, Any]],
    missing: str,
) -> None:
    path = RESIDENCY if body is order else POLICY
    answer = await ask(sidecar.control.port, operator, "PUT", path, json=body(**{missing: None}))
    problem = assert_problem(answer, 422, "BadBody")
    assert [fault["location"] for fault in problem["errors"]] == [missing]
    assert "nothing was changed" in problem["detail"]
    assert model_process.reached == 0


async def test_an_order_for_another_pod_is_misdirected(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential
) -> None:
    for path, body in ((RESIDENCY, order(podUID="other")), (POLICY, loan(podUID="other"))):
        answer = await ask(sidecar.control.port, operator, "PUT", path, json=body)
        assert POD_UID in assert_problem(answer, 421, "WrongPod")["detail"]
    assert model_process.reached == 0


def _json_with(name: str, literal: str) -> bytes:
    return json.dumps(order()).replace('"ifIdleForSeconds": 600', f'"{name}": {literal}').encode()


@pytest.mark.parametrize(
    ("content", "location"),
    [
        pytest.param(json.dumps(order(force=True)).encode(), "force", id="unknown field"),
        pytest.param(json.dumps(order(order={**order()["order"], "admin": 1})).encode(), "order.admin", id="nested"),
        pytest.param(_json_with("ifIdleForSeconds", "NaN"), "ifIdleForSeconds", id="NaN"),
        pytest.param(_json_with("ifIdleForSeconds", "Infinity"), "ifIdleForSeconds", id="infinite"),
        pytest.param(_json_with("ifIdleForSeconds", "-1"), "ifIdleForSeconds", id="negative"),
        pytest.param(json.dumps(order(desired="Disk")).encode(), "desired", id="no such tier"),
        pytest.param(b'{"desired": ', "", id="half JSON"),
        pytest.param(b"", "", id="empty"),
        pytest.param(b"[]", "", id="a list"),
        pytest.param(b'{"desired": "\xff"}', "", id="not UTF-8"),
        pytest.param(b"[" * 8000, "", id="deep"),
    ],
)
async def test_a_bad_body_is_refused_where_it_is_wrong(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential, content: bytes, location: str
) -> None:
    answer = await ask(
        sidecar.control.port,
        operator,
        "PUT",
        RESIDENCY,
        content=content,
        headers={"content-type": "application/json"},
    )
    problem = assert_problem(answer, 422, "BadBody")
    assert location in [fault["location"] for fault in problem["errors"]]
    assert model_process.reached == 0


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_only_json_is_read(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    content = json.dumps(order()).encode()
    answer = await ask(sidecar.control.port, operator, "PUT", RESIDENCY, content=content, headers=headers)
    assert_problem(answer, 415, "BadBody")
    assert model_process.reached == 0


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
async def test_a_huge_body_is_refused_and_the_client_is_told(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential, chunked: bool
) -> None:
    async def pieces() -> Any:
        for _ in range(64):
            yield b" " * MAX_BODY_BYTES

    answer = await ask(
        sidecar.control.port,
        operator,
        "PUT",
        RESIDENCY,
        content=pieces() if chunked else b" " * MAX_BODY_BYTES * 16,
        headers={"content-type": "application/json"},
    )
    assert_problem(answer, 413, "BodyTooLarge")
    assert model_process.reached == 0


async def test_a_body_that_is_announced_as_huge_is_not_waited_for(sidecar: Sidecar, operator: Credential) -> None:
    async with connected(sidecar.control.port, operator) as (reader, writer):
        writer.write(
            f"PUT {RESIDENCY} HTTP/1.1\r\nHost: pod\r\nContent-Length: 10000000000\r\n"
            "Expect: 100-continue\r\n\r\n".encode()
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")


async def test_a_client_that_waits_for_100_continue_is_told_to(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential
) -> None:
    body = json.dumps(order()).encode()
    async with connected(sidecar.control.port, operator) as (reader, writer):
        writer.write(
            f"PUT {RESIDENCY} HTTP/1.1\r\nHost: pod\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 100")
        writer.write(body)
        assert b"HTTP/1.1 202" in await reader.read(-1)


async def test_headers_that_are_too_large_are_refused(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential
) -> None:
    answer = await ask(sidecar.control.port, operator, headers={"x": "y" * 40_000})
    assert_problem(answer, 431, "BadBody")
    assert model_process.reached == 0


async def test_what_is_not_http_is_answered_with_a_problem(sidecar: Sidecar, operator: Credential) -> None:
    async with connected(sidecar.control.port, operator) as (reader, writer):
        writer.write(b"HELLO\r\n\r\n")
        answer = await reader.read(-1)
    assert answer.startswith(b"HTTP/1.1 400")
    assert PROBLEM.encode() in answer


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/metrics"),
        ("GET", "/dormouse/v1"),
        ("GET", "/dormouse/v1/models/tts/residency"),
        ("GET", "/x/dormouse/v1/models"),
        ("DELETE", "/dormouse/v1/models/tts"),
        ("POST", RESIDENCY),
        ("PUT", "/dormouse/v1/models/tts/weights"),
        ("PUT", "/dormouse/v1/models/tts/residency/"),
    ],
)
async def test_everything_else_is_not_found(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential, method: str, path: str
) -> None:
    answer = await ask(sidecar.control.port, operator, method, path, json=order())
    assert_problem(answer, 404, "NotFound")
    assert model_process.reached == 0


@pytest.mark.parametrize("name", ["", "TTS", "-tts", "a" * 64, "t%74s", "tts%0a", "tts%2F..", "t_t", "tts;x=1"])
async def test_a_name_that_no_model_can_have_is_never_put_into_a_path(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential, name: str
) -> None:
    for method, path in (("GET", f"{MODELS}/{name}"), ("PUT", f"{MODELS}/{name}/residency")):
        answer = await ask(sidecar.control.port, operator, method, path, json=order())
        assert_problem(answer, 404, "NoSuchModel")
    assert model_process.reached == 0


async def test_a_refusal_of_the_model_process_is_passed_on_whole(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential
) -> None:
    body = {
        "type": "about:blank",
        "title": "Can't now",
        "status": 503,
        "detail": "…",
        "reason": "CannotNow",
        "freeBytes": 7,
    }
    model_process.answer = lambda: Response(json.dumps(body), 503, {"retry-after": "12", "set-cookie": "x=1"}, PROBLEM)
    answer = await ask(sidecar.control.port, operator, "PUT", RESIDENCY, json=order())
    assert assert_problem(answer, 503, "CannotNow") == body
    assert answer.headers["retry-after"] == "12"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda: Response("<html>", media_type="text/html"), id="HTML"),
        pytest.param(lambda: Response("{half", media_type="application/json"), id="broken JSON"),
        pytest.param(lambda: Response('{"idleSeconds": NaN}', media_type="application/json"), id="NaN"),
        pytest.param(lambda: Response("[" * 100_000, media_type="application/json"), id="deep"),
        pytest.param(lambda: Response(" " * 2**21 + "{}", media_type="application/json"), id="too large"),
        pytest.param(lambda: Response("{}", 302, {"location": "/"}, "application/json"), id="redirect"),
        pytest.param(lambda: Response(status_code=204), id="nothing"),
    ],
)
async def test_an_answer_that_the_control_api_does_not_have_is_not_passed_on(
    sidecar: Sidecar,
    model_process: ModelProcess,
    operator: Credential,
    made: Callable[[], Response],
) -> None:
    model_process.answer = made
    assert_problem(await ask(sidecar.control.port, operator), 502, "Internal")


async def test_no_log_line_holds_a_body(
    sidecar: Sidecar, operator: Credential, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    secret = "sesame-8fd1"
    for body in (order(reason=secret), order(unknown=secret), order(podUID=secret)):
        await ask(sidecar.control.port, operator, "PUT", RESIDENCY, json=body, headers={"authorization": secret})
    ours = [record for record in caplog.records if record.name.startswith("dormouse_sidecar")]
    assert ours
    assert all(secret not in record.getMessage() for record in ours)


async def test_an_owner_can_not_forge_a_log_line(
    sidecar: Sidecar, operator: Credential, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    stamp = {**order()["order"], "owner": "x\n2026 ERROR forged"}
    answer = await ask(sidecar.control.port, operator, "PUT", RESIDENCY, json=order(order=stamp))
    assert answer.status_code == 202
    assert "ordered by" in caplog.text
    assert "\n2026 ERROR forged" not in caplog.text


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        pytest.param(RESIDENCY, json.dumps(order())[:-1] + ', "desired": "GPU"}', "desired", id="an order"),
        pytest.param(POLICY, json.dumps(loan())[:-1] + ', "pinned": true, "pinned": false}', "pinned", id="a loan"),
        pytest.param(
            RESIDENCY, json.dumps(order()).replace('"term": 1', '"term": 1, "term": 99'), "term", id="in the stamp"
        ),
        pytest.param(POLICY, json.dumps(loan())[:-1] + ', "pod\\u0055ID": "other"}', "podUID", id="escaped"),
    ],
)
async def test_an_order_that_gives_a_key_twice_is_refused_with_the_key(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential, path: str, body: str, key: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = await ask(sidecar.control.port, operator, "PUT", path, content=body, headers=headers)
    problem = assert_problem(answer, 422, "BadBody")
    assert f"the key '{key}' is given twice" in problem["detail"]
    assert "nothing was changed" in problem["detail"]
    assert model_process.reached == 0


async def test_an_answer_of_the_model_process_that_gives_a_key_twice_is_not_passed_on(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential
) -> None:
    model_process.answer = lambda: Response('{"models": [], "models": []}', media_type="application/json")
    assert (await ask(sidecar.control.port, operator)).status_code == 502


@pytest.mark.parametrize(
    ("said", "passed_on"), [("5", "5"), ("9" * 400, None), ("1e3", None), ("-1", None), ("", None)]
)
async def test_a_rest_is_passed_on_where_it_is_a_time(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential, said: str, passed_on: str | None
) -> None:
    model_process.answer = lambda: Response("{}", 503, {"retry-after": said}, "application/problem+json")
    answer = await ask(sidecar.control.port, operator)
    assert (answer.status_code, answer.headers.get("retry-after")) == (503, passed_on)


FORGED = "2026-01-01 00:00:00,000 INFO dormouse_sidecar: all is well"


async def test_nothing_that_a_stranger_sends_makes_a_line_of_the_log(
    sidecar: Sidecar, model_process: ModelProcess, operator: Credential, caplog: pytest.LogCaptureFixture
) -> None:
    """Methods, paths, headers, host names, bodies and bytes that are no HTTP, on both ports."""
    caplog.set_level("DEBUG")
    lines = f"\r{FORGED}\x1b[2K\n{FORGED}\u2028{FORGED}".encode()
    spoken = [
        b"GET /" + lines + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /%0a" + FORGED.replace(" ", "%20").encode() + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"G" + lines + b" / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: " + lines + b"\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nX-" + lines + b": b\r\n\r\n",
        b"PUT " + POLICY.encode() + b" HTTP/1.1\r\nHost: a\r\nContent-Type: " + lines + b"\r\n\r\n",
        lines * 20,
    ]
    model_process.exposition = lambda: Response("x", media_type="text/x;a=b\x7f")
    for port, credential in ((sidecar.control.port, operator), (sidecar.plain.port, None)):
        for said in spoken:
            async with connected(port, credential) as (reader, writer):
                writer.write(said)
                writer.write_eof() if credential is None else None
                await reader.read(-1)
    for record in caplog.records:
        message = record.getMessage()
        assert len(message.splitlines()) <= 1
        assert "\x1b" not in message
        assert not message.startswith(FORGED)
