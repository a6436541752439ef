"""What `check` does: each model is loaded, woken and used twice, on a device that refuses to mix with the CPU.

It is `sim-strict`, so no GPU is needed: what would fail on one because a tensor is on the wrong device fails here, and
the report names the line of the user's code.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from dormouse_contract import Residency

from ..errors import ConfigurationError, DormouseError
from ..manager import ResidencyManager
from ..model import Model
from .answers import answer_of, same_answers
from .target import find_function, make_app, misfit_of, where_in_users_code

# More than any machine has: whether the weights fit is another question.
_DEVICE = "sim-strict:64TiB"
_LOAD_SECONDS = 3600.0
_MIXED = ("Expected all tensors to be on the same device", "can't convert sim:0 device type tensor")


_NOT_OF_THE_DEVICE = ("PrivateUse1", "Could not run 'aten::")


@dataclass(frozen=True, slots=True)
class Checked:
    """One model. nbytes: on the device while awake. same_answers: None where nothing was asked, or nobody
    can tell."""

    name: str
    tensors: int
    nbytes: int
    moved_apart: tuple[str, ...]
    says_where: tuple[str, ...]
    dirty: bool
    same_answers: bool | None
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self)}

    def lines(self) -> Iterator[str]:
        yield f"{self.name}: {self.tensors} tensors, {self.nbytes} bytes move to the GPU and back"
        for path in self.says_where:
            yield f"  names the device, and follows: {path}"
        for line in self.moved_apart:
            yield f"  not in the arena: {line}"
        if self.same_answers:
            yield "  answers the same after a sleep"
        if self.dirty:
            yield "  changed while in use: the changes are kept in host RAM, and an unload is refused"
        for problem in self.problems:
            yield f"  PROBLEM: {problem}"


def check(target: str, example: str | None, project_dir: Path) -> list[Checked]:
    """`target` is a `load` or a `create_app`, as `serve` takes them. Raises `ConfigurationError`."""
    sys.path.insert(0, str(project_dir))
    function = find_function(target, "check")
    ask = _example(example) if example is not None else None
    manager = ResidencyManager(_DEVICE, wake_budget=_LOAD_SECONDS, socket="", gpu_arbiter="")
    try:
        if misfit_of(function) is None:
            manager.register("model", function)
        else:
            make_app(function, manager, f"check {target!r}")
        return [_checked(model, ask) for model in manager]
    finally:
        manager.close()


def _example(example: str) -> Callable[[Any], Any]:
    ask = find_function(example, "--example")
    misfit = misfit_of(ask, "model")
    if misfit is not None:
        raise ConfigurationError(
            f"--example {example!r} can't be called with a model ({misfit}); write def say_hello(model)"
        ) from misfit
    return ask


def _checked(model: Model[Any], ask: Callable[[Any], Any] | None) -> Checked:
    problems: list[str] = []
    answers: list[Any] = []
    tensors = nbytes = 0
    try:
        for _ in range(2):
            with model.on_gpu() as held:
                tensors, nbytes = model.tensors, model.snapshot().gpu_memory_bytes
                if ask is not None:
                    torch.manual_seed(0)
                    answers.append(answer_of(ask, held))
            model.move_to(Residency.CPU)
    except KeyboardInterrupt:
        raise
    except DormouseError as error:
        # Without the advice: here nobody tries it again.
        problems.append(_of_mixing(error) or f"{error.args[0]}{where_in_users_code(error.__cause__ or error)}")
    except BaseException as error:  # an example that calls sys.exit() must not look like a good report
        problems.append(_of_mixing(error) or _in_a_line(error))
    same = _same(answers)
    if same is False:
        problems.append("the answer after a sleep is another one; is the example random, or does the model change?")
    snapshot = model.snapshot()
    return Checked(
        model.name, tensors, nbytes, model.moved_apart, model.says_where, bool(snapshot.dirty), same, tuple(problems)
    )


def _same(answers: list[Any]) -> bool | None:
    """None where nothing was asked, or nobody can tell."""
    try:
        return same_answers(*answers) if len(answers) == 2 else None
    except Exception:  # whatever the user's `__eq__` does
        return None


def _in_a_line(error: BaseException) -> str:
    """torch lists two hundred kernels where one is missing."""
    where, text = where_in_users_code(error), str(error).partition("\n")[0]
    if isinstance(error, NotImplementedError) and any(sign in text for sign in _NOT_OF_THE_DEVICE):
        return f"the simulated device can't do this, so it was not checked{where}: {text}"
    return f"{type(error).__name__}: {text}{where}"


def _of_mixing(error: BaseException) -> str | None:
    """The sentence for devices that met; a wake wraps the error of its warm-up."""
    at: BaseException | None = error
    while at is not None:
        if any(sign in str(at) for sign in _MIXED) and not isinstance(at, DormouseError):
            return f"mixes devices{where_in_users_code(at)}: {at}"
        at = at.__cause__
    return None
