"""Distinguishes a CUDA error that passes from one that sticks.

Some errors are of one call: no memory, a call that is not allowed while a graph is captured. Others break the process's
CUDA context, and every later call gets them. No error says which kind it is, so after one the device is asked again.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch

from ....errors import CopyFailed
from ..breakage import Breakage, first_sentence

P = ParamSpec("P")
R = TypeVar("R")
# Of codes 900 to 908: another thread captures a graph, and the device works.
_CAPTURE = "captur"


class CudaHealth(Breakage):
    def __init__(self, name: str, device: torch.device) -> None:
        super().__init__(name)
        self._torch_device = device

    def examine(self) -> None:
        """Two calls that have nothing in common must fail: a broken context fails them all."""
        if self.cause is not None:
            return
        # First the one that waits for nothing and is allowed during a capture, which a synchronize would spoil.
        for ask in (torch.cuda.mem_get_info, torch.cuda.synchronize):
            try:
                ask(self._torch_device)
                return
            except torch.cuda.OutOfMemoryError:
                return
            except RuntimeError as error:
                cause = first_sentence(error)
                if _CAPTURE in cause:
                    return
        self.broke(cause)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Not begun once the device is broken; an error in it is looked into. Raises `DeviceBroken`."""
        self.refuse()
        try:
            yield
        except torch.cuda.OutOfMemoryError:
            raise
        except (RuntimeError, CopyFailed):
            self.examine()
            self.refuse()
            raise

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """An error in it is looked into, and not raised."""
        try:
            yield
        except RuntimeError:
            self.examine()


def watched(call: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """For methods of what has a `health`."""

    @functools.wraps(call)
    def asked(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.health.watched():
            return call(self, *args, **kwargs)

    return asked
