"""What `check` does: each model is loaded, woken and used twice, on a device that refuses to mix with the CPU.

It is `sim-strict`, so no GPU is needed: what would fail on one because a tensor is on the wrong device fails here, and
the report names the line of the user's code.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import torch
from dormouse_contract import Residency

from ..errors import DormouseError
from ..manager import ResidencyManager
from ..model import Model
from .target import find_function, make_app, where_in_users_code

# More than any machine has: whether the weights fit is another question.
_DEVICE = "sim-strict:64TiB"
_LOAD_SECONDS = 3600.0
_MIXED = ("Expected all tensors to be on the same device", "can't convert sim:0 device type tensor")


@dataclass(frozen=True, slots=True)
class Checked:
    """One model. nbytes: on the device while awake. same_answers: None where nothing was asked."""

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
    ask = find_function(example, "--example") if example is not None else None
    manager = ResidencyManager(_DEVICE, wake_budget=_LOAD_SECONDS, socket="", gpu_arbiter="")
    try:
        if _takes_nothing(function):
            manager.register("model", function)
        else:
            make_app(function, manager, f"check {target!r}")
        return [_checked(model, ask) for model in manager]
    finally:
        manager.close()


def _takes_nothing(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    except ValueError:
        return True
    return True


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
                    answers.append(on_the_cpu(ask(held)))
            model.move_to(Residency.CPU)
    except DormouseError as error:
        problems.append(_of_mixing(error) or str(error))
    except Exception as error:
        problems.append(_of_mixing(error) or f"{type(error).__name__}: {error}{where_in_users_code(error)}")
    same = same_answers(*answers) if len(answers) == 2 else None
    if same is False:
        problems.append("the answer after a sleep is another one; is the example random, or does the model change?")
    snapshot = model.snapshot()
    return Checked(
        model.name, tensors, nbytes, model.moved_apart, model.says_where, bool(snapshot.dirty), same, tuple(problems)
    )


def _of_mixing(error: BaseException) -> str | None:
    """The sentence for devices that met; a wake wraps the error of its warm-up."""
    at: BaseException | None = error
    while at is not None:
        if any(sign in str(at) for sign in _MIXED) and not isinstance(at, DormouseError):
            return f"mixes devices{where_in_users_code(at)}: {at}"
        at = at.__cause__
    return None


def on_the_cpu(answer: Any) -> Any:
    """A copy of an answer that outlives the sleep of its model."""
    if isinstance(answer, torch.Tensor):
        return answer.detach().to("cpu", copy=True)
    if isinstance(answer, Mapping):
        return {key: on_the_cpu(value) for key, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [on_the_cpu(value) for value in answer]
    return {"": asdict(answer)} if is_dataclass(answer) and not isinstance(answer, type) else answer


def same_answers(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and bool(torch.equal(one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_answers(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_answers, one, other))
    if hasattr(one, "__array__"):
        return same_answers(torch.as_tensor(one), torch.as_tensor(other))
    return bool(one == other)
