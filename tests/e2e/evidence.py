"""What is kept of a failed run: enough to find out why without starting it again."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from localcluster.errors import LocalClusterError

from .stage import Stage

QUESTIONS = {
    "pods.txt": ("get", "pods", "--all-namespaces", "-o", "wide"),
    "events.txt": ("get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"),
    "managedmodels.yaml": ("get", "managedmodels", "--all-namespaces", "-o", "yaml"),
    "objects.txt": ("get", "all,configmaps,networkpolicies", "--all-namespaces"),
    "described.txt": ("describe", "pods", "--all-namespaces"),
}


def keep_evidence(stage: Stage, output: Path) -> None:
    """Logs of all pods and of the node's own parts, events and objects, under `output`."""
    output.mkdir(parents=True, exist_ok=True)
    for name, question in QUESTIONS.items():
        with suppress(LocalClusterError, OSError):
            (output / name).write_text(stage.kubectl(*question))
    for log in stage.directory.rglob("*.log"):
        if "root" in log.relative_to(stage.directory).parts:
            continue  # containerd's snapshots: whole file systems
        copy = output / "logs" / log.relative_to(stage.directory)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            shutil.copyfile(log, copy)
