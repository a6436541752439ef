"""A speech server whose three models sleep: text encoder, acoustic decoder, vocoder.

    dormouse-modelserver serve --app examples.speech_server:create_app --device sim:1GiB --idle-timeout 20
    curl -s localhost:7860/v1/audio/speech -H 'content-type: application/json' \\
        -d '{"input": "a dormouse sleeps"}' -o answer.wav
    curl -sN localhost:7860/v1/audio/speech -H 'content-type: application/json' \\
        -d '{"input": "a dormouse sleeps", "stream": true}' -o streamed.wav

The weights are random from a fixed seed (what it says is noise, the same noise for the same text each time),
but sizes and shapes are those of a small TTS, and what Dormouse needs of an app is what it needs of yours:

- `register` once for each model: the small encoder keeps its place longer than the big vocoder.
- hold what an answer needs for as long as it is made. A *streamed* answer is made after the route has
  returned, so the hold is inside the generator, which `@uses_gpu` does for you.
"""

import struct
from array import array
from collections.abc import Iterator
from typing import Annotated, TypeVar

import torch
from dormouse_modelserver import ResidencyManager
from fastapi import FastAPI
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field
from torch import Tensor, nn

RATE_HZ = 16_000
# Samples that the vocoder makes of one frame, and frames of one letter.
HOP, FRAMES_PER_LETTER = 256, 4
MELS, WIDTH = 80, 256
# What is vocoded and sent at a time, about half a second.
FRAMES_PER_PIECE = 32

Module = TypeVar("Module", bound=nn.Module)


class TextEncoder(nn.Module):
    """Letters (bytes of UTF-8) to hidden states, (letters, WIDTH). 4.5 MB."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(256, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, nhead=4, dim_feedforward=512, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)

    def forward(self, letters: Tensor) -> Tensor:
        hidden: Tensor = self.layers(self.letters(letters).unsqueeze(0))
        return hidden[0]


class AcousticDecoder(nn.Module):
    """Hidden states to frames of a mel spectrogram, (frames, MELS). 11 MB."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(WIDTH, 512, num_layers=2, batch_first=True)
        self.mels = nn.Linear(512, MELS)

    def forward(self, hidden: Tensor) -> Tensor:
        stretched = hidden.repeat_interleave(FRAMES_PER_LETTER, dim=0).unsqueeze(0)
        mels: Tensor = self.mels(self.recurrent(stretched)[0][0])
        return mels


class Vocoder(nn.Module):
    """Frames to samples between −1 and 1, (frames × HOP,). 29 MB. Frame by frame, so it can stream."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(MELS, 2048), nn.GELU(), nn.Linear(2048, 3072), nn.GELU())
        self.samples = nn.Linear(3072, HOP)

    def forward(self, frames: Tensor) -> Tensor:
        return torch.tanh(self.samples(self.layers(frames))).flatten()


class SpeechRequest(BaseModel):
    input: Annotated[str, Field(min_length=1, max_length=1000, examples=["a dormouse sleeps"])]
    stream: bool = False


def load_encoder() -> TextEncoder:
    return _seeded(TextEncoder)


def load_decoder() -> AcousticDecoder:
    return _seeded(AcousticDecoder)


def load_vocoder() -> Vocoder:
    return _seeded(Vocoder)


def create_app(residency: ResidencyManager) -> FastAPI:
    torch.set_num_threads(1)
    # Small, so it may stay for half an hour whatever the server's own timeout.
    encoder = residency.register("text-encoder", load=load_encoder, idle_timeout=1800)
    decoder = residency.register("acoustic-decoder", load=load_decoder)
    vocoder = residency.register("vocoder", load=load_vocoder)
    app = FastAPI(title="Speech that sleeps")

    # Each stage holds its own model only: while the vocoder works, the two others may sleep.
    @encoder.uses_gpu
    @torch.inference_mode()
    def encode(model: TextEncoder, text: str) -> Tensor:
        letters = torch.tensor(list(text.encode()), device=_device(model))
        return torch.as_tensor(model(letters))

    @decoder.uses_gpu
    @torch.inference_mode()
    def decode(model: AcousticDecoder, hidden: Tensor) -> Tensor:
        return torch.as_tensor(model(hidden))

    # A generator: the vocoder stays on the GPU until the last sample is sent or the listener has gone.
    @vocoder.uses_gpu
    def speak(model: Vocoder, mels: Tensor) -> Iterator[bytes]:
        for frames in torch.split(mels, FRAMES_PER_PIECE):
            with torch.inference_mode():
                samples = (model(frames) * 32767).to(torch.int16).tolist()
            yield array("h", samples).tobytes()

    # A plain function: FastAPI gives it a thread, where it may wait for a model and compute.
    @app.post("/v1/audio/speech")
    def speech(request: SpeechRequest) -> Response:
        mels = decode(encode(request.input))
        header = wav_header(len(mels) * HOP)
        if request.stream:
            return StreamingResponse(_after(header, speak(mels)), media_type="audio/wav")
        return Response(header + b"".join(speak(mels)), media_type="audio/wav")

    return app


def wav_header(samples: int) -> bytes:
    """Of 16-bit mono. The length is known before the first sample, so a streamed answer has the same."""
    nbytes = 2 * samples
    riff = struct.pack("<4sI4s", b"RIFF", 36 + nbytes, b"WAVE")
    return riff + struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16, b"data", nbytes)


def _after(header: bytes, samples: Iterator[bytes]) -> Iterator[bytes]:
    yield header
    yield from samples


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _seeded(kind: type[Module]) -> Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return kind().eval()
