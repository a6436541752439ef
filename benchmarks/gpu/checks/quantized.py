"""Weights quantized by torchao: tensors of classes that dispatch for themselves."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.modelserver.zoo import seeded

from ..reporting import Report
from .comparing import answers_over, same
from .models import manager
from .twins import CanNotMove, twin_on

_KINDS = ("Int8WeightOnlyConfig", "Int8DynamicActivationInt8WeightConfig")


def run(report: Report) -> None:
    for kind in _KINDS:
        what = f"quantized by torchao ({kind}): bit-equal to a twin over every tier"
        try:
            load = _loader(kind)
            load()
        except (ImportError, AttributeError, NotImplementedError, RuntimeError) as missing:
            report.not_tried(what, f"torchao can't do it here: {str(missing)[:200]}")
            continue
        with manager(report) as residency:
            device = residency.device.torch_device
            x = torch.linspace(-1, 1, 16 * 64, device=device).reshape(16, 64)
            try:
                twin, how = twin_on(device, load)
                right = _ask(twin, x)
            except (CanNotMove, RuntimeError) as problem:
                report.not_tried(what, f"the twin itself can't answer on this device: {str(problem)[:200]}")
                continue
            answers = answers_over(residency.register("it", load), lambda model, x=x: _ask(model, x))  # type: ignore[misc]
            equal = sum(same(answer, right) for answer in answers)
            report.held(what, equal == len(answers), f"{equal} of {len(answers)} answers; twin by {how}")


def _ask(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return torch.as_tensor(model(x))


def _loader(kind: str) -> Callable[[], Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchao import quantization

    config = getattr(quantization, kind)

    def made() -> nn.Module:
        model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64)).eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantization.quantize_(model, config())
        return model

    return seeded(made)
