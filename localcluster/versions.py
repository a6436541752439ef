"""Asks a binary what it is, which also proves that it runs here at all."""

from __future__ import annotations

import subprocess
from pathlib import Path

from localcluster.recipes import Recipe, Version, parse_version

# A binary from a network file system may take its time; one that hangs must not hang us.
TIMEOUT_SECONDS = 20.0


def version_of(binary: Path, recipe: Recipe) -> Version | None:
    """The version that `binary` reports; None when it fails, hangs or says nothing that looks like one."""
    try:
        answer = subprocess.run(
            [binary, *recipe.version_command],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    # The line that names the product comes first; Prometheus writes to stderr in some versions.
    return parse_version(answer.stdout or answer.stderr)
