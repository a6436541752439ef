"""Pods that answer late, by halves, somewhere else, or never."""

from __future__ import annotations

import asyncio
import itertools
import json

from ..bad import BadTenant
from ..listener import Handle, answer, read_request, response
from ..pod_talk import exposition, model_list, models_of, polite, problem, replying, series, silence, snapshot
from .numbers import POLICY

MANY_MODELS = [f"m-{number}" for number in range(300)]
MANY_PODS = 200
AT_ONCE = {"offloadAfterSeconds": 0}


def one_pod_of_300_models_that_takes_no_order(bad: BadTenant) -> None:
    """It tells its models, all of them idle, and then never answers an order."""
    _one_pod(bad, polite(MANY_MODELS, silence))


def one_pod_of_300_models_that_says_nothing(bad: BadTenant) -> None:
    _one_pod(bad, silence)


def one_pod_of_300_models_that_refuses(bad: BadTenant) -> None:
    """At once, each order and each policy, so that 300 of them fail together again and again."""
    _one_pod(bad, polite(MANY_MODELS, replying(lambda _: problem("not now"))))


def policies_for_300_models_that_take_their_time(bad: BadTenant) -> None:
    """With keep-alive 0 each model is sent its policy at first sight; each takes two seconds to say yes."""

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2)
        await answer(writer, response(json.dumps(snapshot("main")).encode()))

    _one_pod(bad, polite(MANY_MODELS, slowly), AT_ONCE)


def pods_by_the_hundred_that_take_no_order(bad: BadTenant) -> None:
    ip = bad.serve(polite(["main"], silence), models_of(["main"]))
    bad.managed("many", policy=POLICY)
    bad.side_by_side(lambda n=n: bad.pod(f"pod-{n}", ip, app="many") for n in range(MANY_PODS))
    bad.scrape()


def handshakes_that_stall(bad: BadTenant) -> None:
    """The first connection is served, so that it counts as reached; later ones get no word of TLS."""
    count = itertools.count()
    serve = polite(MANY_MODELS)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if next(count):
            await silence(reader, writer)
        await writer.start_tls(bad.tls)
        await serve(reader, writer)

    bad.pod("pod", bad.serve(handle, models_of(MANY_MODELS), ends_tls=False))
    bad.managed("pod", policy=POLICY)
    bad.scrape()


def answers_by_the_drop(bad: BadTenant) -> None:
    """A byte now and then, so that no read waits for long: at first in the head, then in the body."""
    body = response(model_list(["main"]))

    def dripping(from_byte: int) -> Handle:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(body[:from_byte])
            for byte in body[from_byte:]:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(1)

        return handle

    for number in range(60):
        first = dripping((0, 20, len(body) - 200)[number % 3])
        _small_pod(bad, number, first if number % 2 else polite(["main"], first))
    bad.scrape()


def half_answers(bad: BadTenant) -> None:
    """The connection ends in the middle: of the head, of the body, of a chunk; or it never had an end."""
    whole = response(model_list(["main"]))
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    beginnings = [
        whole[:10],
        whole[:-10],
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        chunked + b"ffffffffff\r\n{",
        chunked + b"zz\r\n",
        b"HTTP/9.9 999 \r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
        b"SSH-2.0-OpenSSH_9.9\r\n",
    ]
    for number, beginning in enumerate(beginnings):
        half = replying(lambda _, beginning=beginning: beginning)
        _small_pod(bad, 2 * number, half)
        _small_pod(bad, 2 * number + 1, polite(["main"], half))
    bad.scrape()


def answers_without_end(bad: BadTenant) -> None:
    """Three megabytes a second of bodies, heads, interim answers, and of what is small only while it is packed."""

    def endless(head: bytes, more: bytes) -> Handle:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(head)
            while True:
                writer.write(more)
                await writer.drain()
                # Faster, and it were this process that takes the machine.
                await asyncio.sleep(0.01)

        return handle

    block = b"[" * 32768
    ways = [
        endless(b"HTTP/1.1 200 OK\r\n\r\n", block),
        endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n[\r\n" * 5461),
        endless(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 1820),
        endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 1213),
        endless(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", block),
    ]
    for number, way in enumerate(ways):
        _small_pod(bad, 2 * number, way)
        _small_pod(bad, 2 * number + 1, polite(["main"], way))
    bad.scrape()


def redirects(bad: BadTenant) -> None:
    """To honest pods, to the API server, to the operator itself, to the metadata service, and in a circle."""
    _, _, honest = bad.neighbours[0]
    places = [
        f"https://{honest}:{bad.control_port}/dormouse/v1/models/main/astray",
        f"{bad.api_url}/api/v1/namespaces/honest-0/pods",
        f"{bad.operator_url}/metrics",
        "http://169.254.169.254/latest/meta-data/",
        "/dormouse/v1/models",
        "file:///etc/passwd",
        "\x00",
    ]
    for number, (status, place) in enumerate(itertools.product(("302 Found", "307 Moved", "308 Moved"), places)):
        elsewhere = replying(lambda _, s=status, p=place: response(b"", s, headers=(f"Location: {p}",)))
        _small_pod(bad, 2 * number, elsewhere)
        _small_pod(bad, 2 * number + 1, polite(["main"], elsewhere))
    bad.scrape()


def _one_pod(bad: BadTenant, control: Handle, policy: dict[str, int] = POLICY) -> None:
    bad.pod("pod", bad.serve(control, models_of(MANY_MODELS)))
    bad.managed("pod", policy=policy)
    bad.scrape()


def _small_pod(bad: BadTenant, number: int, control: Handle) -> None:
    name = f"pod-{number}"
    bad.pod(name, bad.serve(control, lambda: exposition(series("main"))))
    bad.managed(name, policy=POLICY)
