"""A real Prometheus whose samples were written into its storage beforehand, so the truth is known to the sample."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from localcluster.binaries import ensure_binaries
from localcluster.prometheus import Prometheus
from localcluster.workspace import Workspace


@contextmanager
def prometheus_with(samples: Iterable[str]) -> Iterator[Prometheus]:
    """samples: lines of OpenMetrics' text format with times, long ago: in blocks of storage and not in the head."""
    workspace = Workspace()
    try:
        folder = workspace.path / "prometheus"
        folder.mkdir()
        text = folder / "samples.txt"
        text.write_text("\n".join((*samples, "# EOF\n")))
        promtool = ensure_binaries(("promtool",))["promtool"]
        command = [promtool, "tsdb", "create-blocks-from", "openmetrics", text, folder / "data"]
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
        with Prometheus(folder) as running:
            yield running
    finally:
        workspace.remove()
