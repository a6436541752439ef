"""`make e2e`: prepare a node's binaries and images, run the checks on it in namespaces of their own, clean up.

Exit status: 0 when all is well, 1 when the product or the node failed, 77 when this machine allows no node.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import secrets
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from images import ImageUnavailable, on_this_machine
from localcluster.binaries import USUAL, binary, ensure_binaries
from localcluster.errors import LocalClusterError
from localcluster.node import cgroups, what_is_missing
from localcluster.node.namespaces import inside
from localcluster.progress import Progress
from localcluster.recipes import NODE_ONLY
from localcluster.workspace import Workspace

ROOT = Path(__file__).parent.parent.parent
OUTPUT = ROOT / "build" / "e2e"
SKIPPED = 77
# Three times what it takes on two idle cores.
DEADLINE_SECONDS = 45 * 60.0
CHECK_SECONDS = 600
EXAMPLES = """\
examples:
  make e2e                                      everything
  sudo .venv/bin/python -m tests.e2e -k loop    only the checks whose name has `loop`
  sudo .venv/bin/python -m tests.e2e -x         stop at the first that fails
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.e2e",
        description="The product on a real node. Other arguments go to pytest.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--may-skip", action="store_true", help="exit with 0 where no node is possible")
    parser.add_argument("--keep", action="store_true", help="after a failure leave the node until Ctrl-C")
    options, pytest_arguments = parser.parse_known_args()
    if missing := what_is_missing():
        _skip(missing)
        return 0 if options.may_skip else SKIPPED
    try:
        progress = Progress()
        ensure_binaries((*USUAL, *NODE_ONLY), progress)
        images = on_this_machine.build_all(binary("prometheus"), progress)
    except (LocalClusterError, ImageUnavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return _run(images, pytest_arguments, keep=options.keep)


def _skip(missing: list[str]) -> None:
    line = "=" * 72
    print(f"{line}\nSKIPPED: the end-to-end checks did NOT run. There is no node here, because:", file=sys.stderr)
    for reason in missing:
        print(f"  - {reason}", file=sys.stderr)
    print(f"Nothing else is affected. docs/e2e.md says what they need.\n{line}", file=sys.stderr)


def _run(images: list[on_this_machine.Exported], pytest_arguments: list[str], *, keep: bool) -> int:
    cgroups.remove_abandoned()
    workspace = Workspace()
    cgroup = f"{cgroups.PREFIX}{secrets.token_hex(4)}"
    cgroups.make_cgroup(cgroup)
    (workspace.path / "images.json").write_text(json.dumps([image.command for image in images]))
    shutil.rmtree(OUTPUT, ignore_errors=True)  # what an earlier run left would be taken for this one's
    OUTPUT.mkdir(parents=True)
    os.environ |= {
        "E2E_DIRECTORY": str(workspace.path),
        "E2E_OUTPUT": str(OUTPUT),
        "E2E_CGROUP": cgroup,
        "E2E_SANDBOX_IMAGE": on_this_machine.BASE,
        "E2E_KEEP": "yes" if keep else "",
    }
    command = [sys.executable, "-m", "pytest", "tests/e2e", "-v", "-p", "no:cacheprovider"]
    command.append("--timeout=0" if keep else f"--timeout={CHECK_SECONDS}")
    log = OUTPUT / "checks.log"
    checks = inside("checks", [*command, *pytest_arguments], directory=ROOT, log=log)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    deadline = math.inf if keep else time.monotonic() + DEADLINE_SECONDS
    try:
        with checks, _follow(log):
            if keep:
                _how_to_enter(checks.pid, workspace.path)
            while checks.running and time.monotonic() < deadline:
                checks.pause()
        if time.monotonic() >= deadline:
            print(f"error: the checks were stopped after {DEADLINE_SECONDS / 60:g} minutes", file=sys.stderr)
        summary = OUTPUT / "summary.json"
        if not summary.exists():
            summary.write_text('{"checks": [{"name": "the checks began", "ok": false, "seconds": 0}]}\n')
        return 0 if checks.returncode == 0 else 1
    finally:
        cgroups.remove_cgroup(cgroup)
        workspace.remove()


def _how_to_enter(unshare: int, directory: Path) -> None:
    children = Path(f"/proc/{unshare}/task/{unshare}/children")
    first = children.read_text().split()
    while not first:
        time.sleep(0.05)
        first = children.read_text().split()
    kubeconfig = directory / "control-plane" / "admin.kubeconfig"
    print(
        f"To look in: nsenter --target {first[0]} --net --mount --pid "
        f"env KUBECONFIG={kubeconfig} {binary('kubectl')} get pods --all-namespaces"
    )


@contextmanager
def _follow(log: Path) -> Iterator[None]:
    """Print what is added to `log`, to the end of what is there when the block is left."""
    ended = threading.Event()

    def copy() -> None:
        while not log.exists() and not ended.wait(0.1):
            pass
        with log.open(errors="replace") as lines:
            while True:
                last = ended.wait(0.2)
                sys.stdout.write(lines.read())
                sys.stdout.flush()
                if last:
                    return

    thread = threading.Thread(target=copy)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
