"""The part of `torch.cuda` that `CudaDevice` calls, with errors that pass and errors that stick."""

from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

STUCK = "CUDA error: device-side assert triggered"
ADVICE = "\nCUDA kernel errors might be asynchronously reported at some other API call.\nFor debugging consider …"


class FakeTorchCuda:
    """sticks: every call fails with it. fails: what one call fails with, by its name. calls: how often each came."""

    def __init__(self) -> None:
        self.sticks: str | None = None
        self.fails: dict[str, RuntimeError] = {}
        self.calls: Counter[str] = Counter()

    def ask(self, name: str, answer: Any = None) -> Any:
        self.calls[name] += 1
        if self.sticks is not None:
            raise torch.AcceleratorError(self.sticks + ADVICE)
        if name in self.fails:
            raise self.fails[name]
        return answer

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cuda = self

        class Event:
            def record(self, stream: object) -> None:
                cuda.ask("record")

            def query(self) -> bool:
                return bool(cuda.ask("query", False))

            def synchronize(self) -> None:
                cuda.ask("event")

        class Stream:
            def __init__(self, device: object) -> None: ...

            def wait_stream(self, other: object) -> None:
                cuda.ask("wait_stream")

            def synchronize(self) -> None:
                cuda.ask("stream")

        properties = SimpleNamespace(uuid="0")
        for name, call in {
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "get_device_properties": lambda index: properties,
            "memory_reserved": lambda index: 0,
            "memory_allocated": lambda index: 0,
            "device": lambda device: nullcontext(),
            "stream": lambda stream: nullcontext(),
            "current_stream": lambda device: Stream(device),
            "mem_get_info": lambda device: self.ask("mem_get_info", (60, 100)),
            "synchronize": lambda device: self.ask("synchronize"),
            "empty_cache": lambda: self.ask("empty_cache"),
            "Event": Event,
            "Stream": Stream,
        }.items():
            monkeypatch.setattr(torch.cuda, name, call)
        # It computes on the device, and there is none.
        monkeypatch.setattr("dormouse_modelserver.engines.torch.cuda.device.prepare_checksum", lambda device: None)
