"""Every kind of model, over every tier: its answers are, bit for bit, those of a twin that was never moved."""

import os

import torch
from dormouse_modelserver import DormouseError

from tests.modelserver.zoo import ZOO, Exhibit

from ..reporting import Report
from . import changed_weights, crowded, quantized, shared
from .comparing import answers_over, same
from .models import manager
from .twins import CanNotMove, twin_on

# A twin on the CPU computes in another order: only a wrong weight makes more of a difference.
_CLOSE = 1e-2


def run(report: Report) -> None:
    # What cuBLAS asks for before it promises the same bits for the same product.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for name, exhibit in ZOO.items():
        with report.part(f"{name}: bit-equal to a twin over every tier"):
            _one_kind(report, name, exhibit)
    for what, part in (
        ("quantized by torchao", quantized),
        ("changed weights", changed_weights),
        ("models that share an encoder", shared),
        ("several models under constant moves", crowded),
    ):
        with report.part(what):
            part.run(report)


def _one_kind(report: Report, name: str, exhibit: Exhibit) -> None:
    report.step(name)
    what = f"{name}: bit-equal to a twin over every tier"
    with manager(report) as residency:
        device = residency.device.torch_device
        there = _on(device, exhibit)
        try:
            twin, how = twin_on(device, exhibit.load)
            right = there.answer(twin)
        except (CanNotMove, RuntimeError, NotImplementedError) as problem:
            twin, right, how = None, None, f"no twin on this device: {str(problem)[:200]}; compared with itself"
        try:
            answers = answers_over(residency.register("it", exhibit.load), there.answer)
        except (DormouseError, RuntimeError, NotImplementedError) as error:
            if right is None or exhibit.stays:
                why = "a part of it stays in host RAM" if exhibit.stays else "torch can't compute it on this device"
                report.not_tried(what, f"{why}: {str(error)[:200]}")
            else:
                report.held(what, False, f"{type(error).__name__}: {error}")
            return
    expected = answers[0] if right is None else right
    equal = sum(same(answer, expected) for answer in answers)
    close = _close(answers[0], exhibit.answer(exhibit.load()))
    detail = f"{equal} of {len(answers)} answers; twin by {how}" + ("" if close else "; far from the CPU's answer")
    report.held(what, equal == len(answers) and close, detail)


def _on(device: torch.device, exhibit: Exhibit) -> Exhibit:
    return Exhibit(exhibit.load, exhibit.x.to(device), exhibit.apart, exhibit.stays)


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one.cpu().to(torch.complex128), other.cpu().to(torch.complex128), _CLOSE, _CLOSE)
