"""One case from its weights to its figures; a process of its own, so that nothing of it is left for the next.

    python -m benchmarks.engine.one_case CASE DEVICE ROUNDS FOLDER

On stdout a line of JSON for each step (`{"step": …}`), and at last `{"figures": …}`. The weights are written to FOLDER
and removed at the end.
"""

# ruff: noqa: T201
import json
import os
import sys
from pathlib import Path

from dormouse_modelserver import Safetensors
from dormouse_modelserver.engines.torch.device import DeviceBackend
from dormouse_modelserver.engines.torch.open_device import open_device

from .alternatives import Alternatives
from .cases import Case, parse
from .memcpy import Memcpy
from .rounds import Say, restore_against_memcpy, unload_and_reload, without_dormouse
from .samples import Samples
from .stack import build_on_meta, write_weights
from .subject import Subject

# Until pages, allocator and caches are as they will stay.
_WARM_UP_ROUNDS = 3
# Loading is slower than copying, and steadier.
_MOST_SLOW_ROUNDS = 3
# A restart reads all and imports torch; the number of parameters hardly matters to it, so one per size is enough.
_RESTARTED_PARAMETERS = 300


def measure(case: Case, device: DeviceBackend, rounds: int, file: Path, say: Say) -> dict[str, object]:
    """The figures of one case whose weights are in `file`. Raises `OtherAnswer` when a move changed the model."""
    load_average, samples = os.getloadavg()[0], Samples()
    slow_rounds = min(rounds, _MOST_SLOW_ROUNDS)
    subject, anonymous_before = (
        Subject(case, Safetensors(lambda: build_on_meta(case), file), device, samples),
        _anonymous_bytes(),
    )
    say("load")
    subject.reload()
    host_bytes, host_rss_bytes = subject.host_bytes, _anonymous_bytes() - anonymous_before
    memcpy = Memcpy(case.nbytes, device)
    restore_against_memcpy(subject, memcpy, samples, _WARM_UP_ROUNDS, lambda step: say(f"warm-up: {step}"))
    samples.forget()
    answer = restore_against_memcpy(subject, memcpy, samples, rounds, say)
    memcpy.close()
    unload_and_reload(subject, slow_rounds, say)
    restarts = slow_rounds if case.parameters == _RESTARTED_PARAMETERS and not case.frozen else 0
    without_dormouse(Alternatives(case, file, device, samples), answer, slow_rounds, restarts, say)
    return {
        "case": case.name,
        "bytes": case.nbytes,
        "parameters": case.parameters,
        "frozen": case.frozen,
        "device": "sim" if device.simulated else device.name,
        "rounds": rounds,
        "load_average": load_average,
        "offload_bytes_copied": subject.most_bytes_copied,
        "host_bytes": host_bytes,
        "host_rss_bytes": host_rss_bytes,
        "memory": subject.memory,
        **samples.figures(),
    }


def device_name_for(case: Case, device: str) -> str:
    """`sim` gets the room that the case needs, so that no more host RAM is taken."""
    return f"sim:{case.nbytes + case.parameters * 256 + (1 << 20)}" if device == "sim" else device


def _anonymous_bytes() -> int:
    """Host RAM that is this process's alone; page cache isn't."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def _say(step: str) -> None:
    print(json.dumps({"step": step}), flush=True)


def main() -> int:
    name, device, rounds, folder = sys.argv[1:]
    case = parse(name)
    file = Path(folder) / f"{case.name}.safetensors"
    try:
        _say("write weights")
        write_weights(case, file)
        figures = measure(case, open_device(device_name_for(case, device)), int(rounds), file, _say)
    finally:
        file.unlink(missing_ok=True)
    print(json.dumps({"figures": figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
