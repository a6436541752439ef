"""The speech server as its docstring starts it: three models, whole and streamed answers, asleep and awake."""

import io
import wave
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.modelserver.server.serving_process import Serving
from tests.waiting import until

MODELS = ("text-encoder", "acoustic-decoder", "vocoder")
SENTENCE = "a dormouse sleeps until somebody asks"


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    app = ("--app", "examples.speech_server:create_app", "--device", "sim:1GiB")
    with Serving(Path(__file__).parents[2], *app, "--idle-timeout", "0.3") as server:
        yield server


def say(server: Serving, text: str = SENTENCE, *, stream: bool = False) -> bytes:
    body = {"input": text, "stream": stream}
    answer = httpx.post(f"{server.url}/v1/audio/speech", json=body, timeout=60)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/wav")
    return answer.content


def asleep(server: Serving, tier: str) -> None:
    """Every model there; the timer of the server may have been quicker."""
    for model in MODELS:
        until(lambda model=model: server.put(model, tier).status_code == 200)  # type: ignore[misc]
        assert server.residency(model) == tier


def test_the_answer_is_a_wav_that_plays(server: Serving) -> None:
    with wave.open(io.BytesIO(say(server))) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16_000, 1, 2)
        assert sound.getnframes() == len(SENTENCE) * 4 * 256
        samples = sound.readframes(sound.getnframes())
    assert len(set(samples)) > 50, "not silence"


@pytest.mark.parametrize("tier", ["CPU", "Unloaded"])
def test_the_bytes_are_the_same_before_and_after_a_sleep_streamed_or_not(server: Serving, tier: str) -> None:
    whole = say(server)
    for stream in (False, True):
        asleep(server, tier)
        assert say(server, stream=stream) == whole
    assert say(server, "something else") != whole


def test_while_an_answer_streams_its_model_is_not_moved(server: Serving) -> None:
    long = "a dormouse sleeps until somebody asks. " * 25
    body = {"input": long, "stream": True}
    received, refused = b"", None
    with httpx.stream("POST", f"{server.url}/v1/audio/speech", json=body, timeout=60) as answer:
        for piece in answer.iter_bytes():
            received += piece
            if refused is None and len(received) > 44:
                refused = server.put("vocoder", "CPU")
                until(lambda: server.residency("acoustic-decoder") == "CPU")
                assert server.residency("vocoder") == "GPU", "its timer has run as well, and it is in use"
    assert refused is not None
    assert (refused.status_code, refused.json()["reason"], refused.json()["inFlight"]) == (409, "InUse", 1)
    assert received == say(server, long)
    until(lambda: server.residency("vocoder") == "CPU")


def test_a_listener_who_leaves_lets_the_model_sleep(server: Serving) -> None:
    body = {"input": "a dormouse " * 80, "stream": True}
    with httpx.stream("POST", f"{server.url}/v1/audio/speech", json=body, timeout=60) as answer:
        next(answer.iter_bytes())
    until(lambda: server.residency("vocoder") == "CPU", 20)


def test_the_small_encoder_keeps_its_place_longer(server: Serving) -> None:
    say(server)
    until(lambda: server.residency("vocoder") == server.residency("acoustic-decoder") == "CPU")
    assert server.residency("text-encoder") == "GPU"
    assert "model text-encoder: idle timeout 1800 s" in server.log
