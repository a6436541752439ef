"""Keeps the collector of cycles out of what makes none.

An answer of Prometheus for 10,000 replicas is tens of thousands of dicts, made at once and gone a moment later
without any cycle; by default the collector looks through them again and again, which was a third of a tick's
time. Making it rarer altogether is no way out: each TLS connection leaves cycles with large buffers behind, and
those added up to 100 MB.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """For a stretch of code that does not wait."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
