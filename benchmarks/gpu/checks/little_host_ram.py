"""A process with little host RAM for pinning, or little at all: `python -m … ulimit|cgroup DEVICE FOLDER`.

Prints its findings as lines of JSON.
"""

import json
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dormouse_modelserver import CopyFailed, HostFull, Residency, ResidencyManager, Safetensors
from safetensors.torch import save_file

from benchmarks.engine.stack import build_on_meta

from .models import ask, plain, plain_case, ready

_LOCKED_BYTES = 64 << 10
_CGROUPS = Path("/sys/fs/cgroup")


def say(what: str, held: bool | None, detail: object) -> None:
    print(json.dumps({"what": what, "held": held, "detail": str(detail)[:400]}), flush=True)  # noqa: T201


def ulimit(device: str, folder: Path) -> None:
    what = "pinning is refused in a sentence, or works all the same"
    ready(device)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (_LOCKED_BYTES, _LOCKED_BYTES))
    residency = ResidencyManager(device, socket="", gpu_arbiter="")
    model = residency.register("it", plain(256 << 20))
    try:
        with model.on_gpu() as held:
            ask(held)
        model.move_to(Residency.CPU)
        with model.on_gpu() as held:
            ask(held)
        say(what, True, "the driver pins beyond the limit (of root, or by its own rules)")
    except CopyFailed as refused:
        say(what, model.snapshot().residency is Residency.UNLOADED, f"{model.snapshot().residency}: {refused}")


def cgroup(device: str, folder: Path) -> None:
    what = "HostFull with figures, and nothing is kept"
    nbytes = (1 << 30) if device.startswith("cuda") else (192 << 20)
    file = folder / "weights.safetensors"
    save_file(plain(nbytes)().state_dict(), file)
    ready(device)
    residency = ResidencyManager(device, socket="", gpu_arbiter="")
    model = residency.register("it", Safetensors(lambda: build_on_meta(plain_case(nbytes)), file), mirror="keep")
    try:
        with _limited(nbytes // 2):
            try:
                with model.on_gpu():
                    say(what, False, "it was loaded although it does not fit")
            except HostFull as full:
                snapshot = model.snapshot()
                whole = snapshot.residency is Residency.UNLOADED and not snapshot.host_memory_bytes
                say(what, whole and full.need_bytes > full.room_bytes, full)
    except OSError as refused:
        say(what, None, f"no cgroup with a limit can be made here: {refused}")


@contextmanager
def _limited(more_bytes: int) -> Iterator[None]:
    """In a cgroup that may take `more_bytes` from now on: what was taken before stays on the old one's account.

    Raises `OSError` where none can be made. No setting that was there before is changed.
    """
    version_2 = _CGROUPS / "cgroup.subtree_control"
    if version_2.exists() and "memory" in version_2.read_text().split():
        parent, limit, controller = _CGROUPS, "memory.max", ""
    elif (_CGROUPS / "memory/memory.limit_in_bytes").exists():
        parent, limit, controller = _CGROUPS / "memory", "memory.limit_in_bytes", "memory"
    else:
        raise OSError("the memory controller is not there")
    entries = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    before = next(path for _, controllers, path in entries if controller in controllers.split(","))
    own = parent / f"dormouse-check-{os.getpid()}"
    own.mkdir()
    try:
        (own / limit).write_text(str(more_bytes))
        (own / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        (parent / before.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))
        own.rmdir()


def main(arguments: list[str]) -> int:
    how, device, folder = arguments
    {"ulimit": ulimit, "cgroup": cgroup}[how](device, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
