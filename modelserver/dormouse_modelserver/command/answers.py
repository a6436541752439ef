"""What an example answered, kept while its model sleeps, and compared with what it answers afterwards."""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch

# An answer may refer to itself, or to the model.
_DEPTH = 3


def answer_of(ask: Callable[[Any], Any], model: Any) -> Any:
    """A copy of the whole answer, as a client has it: what is awaited or streamed comes to its end."""
    answer = ask(model)
    if inspect.iscoroutine(answer):
        answer = asyncio.run(answer)
    if inspect.isasyncgen(answer):
        return asyncio.run(_all_of(answer))
    if inspect.isgenerator(answer):
        return [on_the_cpu(part) for part in answer]
    return on_the_cpu(answer)


async def _all_of(stream: Any) -> list[Any]:
    return [on_the_cpu(part) async for part in stream]


def on_the_cpu(answer: Any, depth: int = 0) -> Any:
    """A copy of an answer that outlives the sleep of its model. depth: of objects in objects."""
    if isinstance(answer, torch.Tensor):
        return answer.detach().to("cpu", copy=True)
    if isinstance(answer, Mapping):
        return {key: on_the_cpu(value, depth) for key, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [on_the_cpu(value, depth) for value in answer]
    if isinstance(answer, type | torch.nn.Module) or depth >= _DEPTH:
        return answer
    if is_dataclass(answer):
        return {each.name: on_the_cpu(getattr(answer, each.name, None), depth + 1) for each in fields(answer)}
    if _is_compared_by_identity(answer) and getattr(answer, "__dict__", None):
        return {name: on_the_cpu(value, depth + 1) for name, value in vars(answer).items()}
    return answer


def same_answers(one: Any, other: Any) -> bool:
    """To the bit; not a number is the same as itself. Raises `TypeError` where nobody can tell."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return _same_tensors(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_answers(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_answers, one, other))
    if hasattr(one, "__array__") and hasattr(other, "__array__"):
        return _same_arrays(one.__array__(), other.__array__())
    if type(one) is type(other) and _is_compared_by_identity(one):
        if one is other:
            return True
        raise TypeError(f"answers of class {type(one).__name__} can't be compared")
    return bool(one == other) or bool(one != one and other != other)


def _same_tensors(one: torch.Tensor, other: torch.Tensor) -> bool:
    try:
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    except AssertionError:
        return False
    return True


def _same_arrays(one: Any, other: Any) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.hasobject:
        return same_answers(one.reshape(-1).tolist(), other.reshape(-1).tolist())
    return bool(one.tobytes() == other.tobytes())


def _is_compared_by_identity(value: object) -> bool:
    return type(value).__eq__ is object.__eq__
