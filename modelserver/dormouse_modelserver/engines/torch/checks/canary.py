"""A question with a known answer, asked after each wake before the first request is let in.

"Healthy but wrong after the wake" has been shipped by others. The checksum proves that the weights are the same bytes;
the canary proves that the whole model, kernels and caches included, still gives the same answer.
"""

import ctypes
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ....errors import ConfigurationError, IntegrityError

Canary = tuple[Any, str | None]


def checked(canary: object, name: str) -> Canary | None:
    """The canary as `register` takes it. Raises `ConfigurationError` that says how to write one."""
    if canary is None:
        return None
    well_formed = isinstance(canary, tuple) and len(canary) == 2 and (canary[1] is None or isinstance(canary[1], str))
    if not well_formed:
        raise ConfigurationError(
            f"model {name!r}: canary is {canary!r}; write (input, digest), where digest is what "
            "`dormouse_modelserver.digest(model(input))` gives, or None to take the first answer as the right one"
        )
    return canary  # type: ignore[return-value]


class CanaryCheck:
    """Asks one model; remembers its first answer when no digest was given."""

    def __init__(self, canary: Canary) -> None:
        self._input, self._expected = canary

    def ask(self, model: Any, name: str) -> None:
        """Raises `IntegrityError` for another answer, and whatever the model raises."""
        asked: Callable[[Any], Any] = self._input if callable(self._input) else model
        with torch.inference_mode():
            answer = asked(model if asked is self._input else self._input)
        got = digest(answer)
        if self._expected is None:
            self._expected = got
        if got != self._expected:
            raise IntegrityError(
                f"model {name!r} answers its canary differently than it should (digest {got[:16]}…, not "
                f"{self._expected[:16]}…); nobody was let in and the weights were put back. Ask again; if it stays "
                "so, the device, the driver or the kernels differ from where the digest was taken"
            )


def digest(answer: Any) -> str:
    """SHA-256 in hex over an answer: tensors (dtype, shape, bytes), text, numbers, and containers of these."""
    sha = hashlib.sha256()
    _feed(sha, answer)
    return sha.hexdigest()


def _feed(sha: Any, answer: Any) -> None:
    if isinstance(answer, torch.Tensor):
        tensor = answer.detach().resolve_conj().resolve_neg().cpu().contiguous()
        sha.update(f"tensor {tensor.dtype} {tuple(tensor.shape)} ".encode())
        sha.update(ctypes.string_at(tensor.data_ptr(), tensor.numel() * tensor.element_size()))
    elif isinstance(answer, Mapping):
        sha.update(f"mapping {len(answer)} ".encode())
        for key, value in answer.items():
            _feed(sha, key)
            _feed(sha, value)
    elif isinstance(answer, list | tuple):
        sha.update(f"sequence {len(answer)} ".encode())
        for value in answer:
            _feed(sha, value)
    elif isinstance(answer, bytes | bytearray):
        sha.update(b"bytes " + str(len(answer)).encode() + b" " + bytes(answer))
    elif answer is None or isinstance(answer, str | bool | int | float):
        sha.update(f"{type(answer).__name__} {answer!r} ".encode())
    elif hasattr(answer, "__array_interface__"):
        _feed(sha, torch.as_tensor(answer))
    elif hasattr(answer, "__dict__"):
        _feed(sha, vars(answer))
    else:
        raise TypeError(f"a {type(answer).__name__} has no digest; let the canary give tensors, text or numbers")
