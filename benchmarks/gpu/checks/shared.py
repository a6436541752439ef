"""Models that were loaded with the same encoder: it is on the device once, and each answers as its twin does."""

from typing import Any

import torch
from dormouse_modelserver import Residency
from torch import nn

from tests.modelserver.zoo import seeded

from ..reporting import Report
from .comparing import same
from .models import manager
from .twins import twin_on

# The encoder is far larger than an arena's rounding.
_WIDTH = 4096


class _Part(nn.Module):
    def __init__(self, encoder: nn.Module, head: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, seeded(lambda: nn.Linear(_WIDTH, head))()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.head(self.encoder(x)))


def _encoder() -> Any:
    return seeded(lambda: nn.Sequential(nn.Linear(_WIDTH, _WIDTH), nn.GELU()))()


def run(report: Report) -> None:
    encoder = _encoder()
    with manager(report) as residency:
        device = residency.device.torch_device
        x = torch.linspace(-1, 1, 4 * _WIDTH, device=device).reshape(4, _WIDTH)
        one = residency.register("one", lambda: _Part(encoder, 8), unload_changes="discard")
        two = residency.register("two", lambda: _Part(encoder, 16), unload_changes="discard")
        right = [_ask(twin_on(device, lambda head=head: _Part(_encoder(), head))[0], x) for head in (8, 16)]  # type: ignore[misc]
        equal: list[bool] = []

        def both() -> None:
            for model, expected in zip((one, two), right, strict=True):
                with model.on_gpu() as held:
                    equal.append(same(_ask(held, x), expected))

        both()
        for model in (one, two):
            for to in (Residency.CPU, Residency.CPU):
                model.move_to(to)
                both()
        one.move_to(Residency.CPU)
        two.move_to(Residency.CPU)
        both()
        encoder_bytes = sum(parameter.numel() * 4 for parameter in encoder.parameters())
        residency.device.trim()
        used = residency.device.held_bytes()[0]
        one.move_to(Residency.CPU)
        kept = used - residency.device.held_bytes()[0] < encoder_bytes
        both()
    report.held("models that share an encoder: bit-equal to twins", all(equal), f"{sum(equal)} of {len(equal)} answers")
    report.held("a shared encoder stays while one of its models is awake", kept)


def _ask(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return torch.as_tensor(model(x)).cpu()
