"""The order of the measurements: in turn, in one process, so that a busy moment of the machine meets all of them."""

from collections.abc import Callable

import torch

from .alternatives import Alternatives
from .memcpy import Memcpy
from .samples import Samples
from .subject import Subject

Say = Callable[[str], None]


class OtherAnswer(RuntimeError):
    """A model that was moved answers otherwise than before, so no figure of it is worth anything."""


def restore_against_memcpy(subject: Subject, memcpy: Memcpy, samples: Samples, rounds: int, say: Say) -> torch.Tensor:
    """The subject is in host RAM before and after; returns its answer."""
    answer: torch.Tensor | None = None
    for number in range(rounds):
        say(f"memcpy, restore, answer, offload: {number + 1} of {rounds}")
        samples.add("memcpy", memcpy.seconds())
        subject.restore()
        answer = _same(subject.answer("first_inference"), answer)
        answer = _same(subject.answer("second_inference"), answer)
        subject.offload()
    if answer is None:
        raise ValueError("nothing is measured in 0 rounds")
    return answer


def unload_and_reload(subject: Subject, rounds: int, say: Say) -> None:
    """The subject is unloaded afterwards."""
    for number in range(rounds):
        say(f"unload, reload: {number + 1} of {rounds}")
        subject.unload()
        subject.reload()
    subject.unload()


def without_dormouse(alternatives: Alternatives, answer: torch.Tensor, rounds: int, restarts: int, say: Say) -> None:
    for number in range(rounds):
        say(f"load_file, .to(device), .to(cpu): {number + 1} of {rounds}")
        alternatives.load_file_to_device()
        alternatives.load_file()
        _same(alternatives.there_and_back(), answer)
    for number in range(restarts):
        say(f"process restart: {number + 1} of {restarts}")
        alternatives.restart()


def _same(answer: torch.Tensor, expected: torch.Tensor | None) -> torch.Tensor:
    if expected is not None and not torch.equal(answer, expected):
        raise OtherAnswer("the answer after a move differs from the one before; no figures are written")
    return answer
