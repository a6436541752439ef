"""What a pod may answer to an order, and what it is taken for."""

from __future__ import annotations

import asyncio
import gzip
import ssl

import httpx
import pytest
from dormouse_contract import Residency
from dormouse_contract.wire import ResidencyOrder
from dormouse_operator.control_client import ControlClient
from dormouse_operator.keys.identity import anonymous_context, make_identity
from dormouse_operator.orders import Outcome

from .fake_pod import FakeModel
from .objects import NOW

SNAPSHOT = FakeModel().snapshot("tts")
ORDER = ResidencyOrder(desired=Residency.CPU, if_idle_for_seconds=600, pod_uid="uid")


def problem(status: int, reason: str) -> httpx.Response:
    return httpx.Response(status, json={"title": "no", "status": status, "detail": "why", "reason": reason})


def client(answer: httpx.Response | Exception, healthy: bool = True) -> ControlClient:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.port == 9743:
            return httpx.Response(200 if healthy else 503)
        if isinstance(answer, Exception):
            raise answer
        assert request.headers["connection"] == "close"
        return answer

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return ControlClient(tls, control_port=7443, transport=httpx.MockTransport(handle))


GONE = httpx.RemoteProtocolError("Server disconnected")


@pytest.mark.parametrize(
    ("answer", "healthy", "expected"),
    [
        pytest.param(httpx.Response(200, json=SNAPSHOT), True, Outcome.DONE, id="there"),
        pytest.param(httpx.Response(202, json=SNAPSHOT), True, Outcome.UNDER_WAY, id="on its way"),
        pytest.param(httpx.Response(200, text="?"), True, Outcome.DONE, id="another version"),
        pytest.param(problem(404, "NoSuchModel"), True, Outcome.NO_SUCH_MODEL, id="no such model"),
        pytest.param(problem(409, "InUse"), True, Outcome.IN_USE, id="in use"),
        pytest.param(problem(409, "StaleOrder"), True, Outcome.STALE_ORDER, id="stale"),
        pytest.param(problem(409, "Dirty"), True, Outcome.DIRTY, id="dirty"),
        pytest.param(problem(421, "WrongPod"), True, Outcome.WRONG_POD, id="wrong pod"),
        pytest.param(problem(422, "BadBody"), True, Outcome.BAD_BODY, id="bad body"),
        pytest.param(problem(503, "CannotNow"), True, Outcome.CANNOT_NOW, id="cannot now"),
        pytest.param(httpx.Response(503, text="proxy"), True, Outcome.CANNOT_NOW, id="503 without words"),
        pytest.param(httpx.Response(418, text="?"), True, Outcome.UNEXPECTED, id="unheard of"),
        pytest.param(httpx.Response(200, content=b" " * (2 << 20)), True, Outcome.UNEXPECTED, id="too large"),
        pytest.param(
            httpx.Response(200, content=gzip.compress(b" "), headers={"Content-Encoding": "gzip"}),
            True,
            Outcome.UNEXPECTED,
            id="compressed",
        ),
        pytest.param(GONE, True, Outcome.UNTRUSTED, id="alive, refuses us"),
        pytest.param(GONE, False, Outcome.UNREACHABLE, id="dying"),
        pytest.param(httpx.ConnectTimeout("slow"), False, Outcome.UNREACHABLE, id="nobody"),
    ],
)
async def test_every_answer_is_an_outcome(answer: httpx.Response | Exception, healthy: bool, expected: Outcome) -> None:
    calls = client(answer, healthy)
    assert (await calls.order("10.0.0.1", "tts", ORDER)).outcome is expected
    await calls.close()


async def test_retry_after_is_heeded() -> None:
    answer = problem(503, "CannotNow")
    answer.headers["Retry-After"] = "7"
    calls = client(answer)
    assert (await calls.order("fd00::1", "tts", ORDER)).retry_after_seconds == 7
    await calls.close()


def test_the_certificate_is_a_leaf_for_clients_only() -> None:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    made = make_identity(NOW)
    certificate = x509.load_pem_x509_certificate(made.certificate_pem)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    context = made.client_context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3


async def test_a_call_under_way_ends_as_it_began_when_the_key_changes() -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def handle(request: httpx.Request) -> httpx.Response:
        arrived.set()
        await go.wait()
        return httpx.Response(200, json=SNAPSHOT)

    calls = ControlClient(anonymous_context(), control_port=7443, transport=httpx.MockTransport(handle))
    under_way = asyncio.create_task(calls.order("10.0.0.1", "tts", ORDER))
    await arrived.wait()
    await calls.use(make_identity(NOW).client_context())
    go.set()
    assert (await under_way).outcome is Outcome.DONE
    assert (await calls.order("10.0.0.1", "tts", ORDER)).outcome is Outcome.DONE
    await calls.close()


NEWER = SNAPSHOT | {
    "tiers": ["GPU", "CPU"],
    "residency": "Disk",
    "lastTransition": {
        "from": "GPU",
        "to": "Disk",
        "trigger": "Claim",
        "reason": "room",
        "time": NOW,
        "seconds": 1,
        "releasedBytes": 5,
        "outcome": "ok",
    },
}


async def test_an_operator_that_was_rolled_back_keeps_the_replicas_of_a_newer_library() -> None:
    answer = await client(httpx.Response(200, json={"models": [NEWER], "features": ["claims"]})).list_models("10.0.0.1")
    assert answer.outcome is Outcome.DONE
    assert [each.name for each in answer.snapshots] == ["tts"]
    done = await client(httpx.Response(200, json=NEWER)).order("10.0.0.1", "tts", ORDER)
    assert [each.name for each in done.snapshots] == ["tts"]


async def test_a_refusal_of_a_newer_library_keeps_its_sentence() -> None:
    answer = await client(problem(503, "Draining")).order("10.0.0.1", "tts", ORDER)
    assert (answer.outcome, answer.detail) == (Outcome.CANNOT_NOW, "why")
