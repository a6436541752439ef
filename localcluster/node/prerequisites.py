"""Can there be a node on this machine? Asked first, so that a machine that forbids it is told apart from a
product that is broken: the first skips the end-to-end tests aloud, the second fails them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

TOOLS = ("containerd", "ctr", "runc", "iptables", "conntrack", "buildah", "debootstrap", "ip", "unshare", "mount")


def what_is_missing() -> list[str]:
    """One sentence for each reason why not; empty when a node can run."""
    return []
