"""Work on many pieces in several threads, this one among them: where no more can be started, it does all by itself.

A pool's `submit` raises at a limit of threads and keeps the piece in its queue, with the tensors that it refers to.
"""

import os
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from ...lifecycle import background

# In a forked child OpenMP waits for ever for threads that only the parent has, in the thread that forked and no other.
_forked = False
# torch's own pool is made anew there by whoever asks first; of two threads that ask at once, one sees none and fails.
_pool_is_parents = False

A = TypeVar("A")
R = TypeVar("R")


def in_threads(work: Callable[[A], R], pieces: Sequence[A], threads: int, name: str) -> list[R]:
    """`work` of each piece, in order. Raises the first error, after all threads have ended."""
    results: list[R | None] = [None] * len(pieces)
    errors: list[BaseException] = []
    left = iter(range(len(pieces)))  # its `next` is atomic

    def run() -> None:
        try:
            for number in left:
                if errors:
                    return
                results[number] = work(pieces[number])
        except BaseException as error:
            errors.append(error)

    if _pool_is_parents:
        _make_pool_anew()
    started: list[threading.Thread] = []
    for _ in range(min(threads, len(pieces)) - (0 if _forked else 1)):
        thread = threading.Thread(target=run, name=name, daemon=True)
        try:
            thread.start()
        except Exception as error:
            background.count_failure(name.removeprefix("dormouse-"), error, say=False)
            break
        started.append(thread)
    if not (_forked and started):
        run()
    for thread in started:
        thread.join()
    if errors:
        raise errors[0]
    return results  # type: ignore[return-value]


def _make_pool_anew() -> None:
    """By a thread of its own, as long as it is the only one. Where none can be started, the work does the same."""
    global _pool_is_parents
    only = threading.Thread(target=torch.get_num_threads, name="dormouse-torch-pool", daemon=True)
    try:
        only.start()
    except Exception as error:
        background.count_failure("torch-pool", error, say=False)
        return
    only.join()
    _pool_is_parents = False


def _in_child() -> None:
    global _forked, _pool_is_parents
    _forked = _pool_is_parents = True


os.register_at_fork(after_in_child=_in_child)
