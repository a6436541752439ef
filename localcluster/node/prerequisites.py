"""Can there be a node on this machine? Asked first, so that a machine that forbids it is told apart from a
product that is broken: the first skips the end-to-end checks aloud, the second fails them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

from localcluster.node.cgroups import PREFIX, hierarchies
from localcluster.node.namespaces import UNSHARE
from localcluster.node.network import BRIDGE, CNI_PLUGINS

TOOLS = ("containerd", "ctr", "runc", "iptables", "conntrack", "buildah", "debootstrap", "ip", "unshare", "mount")
PROBE_SECONDS = 30.0
# What the node does first, tried in namespaces that are gone a moment later.
PROBES = {
    "make a bridge in a network namespace": f"ip link set lo up && ip link add {BRIDGE} type bridge",
    "make virtual Ethernet pairs": "ip link add probe0 type veth peer name probe1",
    "use iptables": "iptables -t nat -A POSTROUTING -m comment --comment probe -j MASQUERADE",
    "mount a tmpfs": "mount -t tmpfs tmpfs /run",
    "mount an overlay": "mkdir a b c all && mount -t overlay overlay -o lowerdir=a,upperdir=b,workdir=c all",
}


def what_is_missing() -> list[str]:
    """One sentence for each reason why not; empty when a node can run."""
    if sys.platform != "linux":
        return ["this is not Linux"]
    if os.geteuid() != 0:
        return ["it needs root"]
    tools = [tool for tool in TOOLS if shutil.which(tool) is None]
    if not (CNI_PLUGINS / "bridge").exists():
        tools.append(f"the CNI plugins in {CNI_PLUGINS}")
    if tools:
        return [f"not installed: {', '.join(tools)} (scripts/install-node-tools installs them on Debian)"]
    return [reason for reason in (*_namespaces(), _cgroups()) if reason]


def _namespaces() -> list[str]:
    reasons = []
    for what, script in PROBES.items():
        with tempfile.TemporaryDirectory() as scratch:
            try:
                answer = subprocess.run(
                    [*UNSHARE, "sh", "-c", script],
                    cwd=scratch, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                reasons.append(f"this machine does not let us {what}: no answer in {PROBE_SECONDS:g} s")
                continue
        if answer.returncode != 0:
            reasons.append(f"this machine does not let us {what}: {answer.stderr.strip()}")
    return reasons


def _cgroups() -> str:
    found = hierarchies()
    if not found:
        return "there are no control groups in /sys/fs/cgroup"
    for hierarchy in found:
        probe = hierarchy / f"{PREFIX}probe-{os.getpid()}"
        try:
            probe.mkdir()
            probe.rmdir()
        except OSError as error:
            return f"no control group can be made: {error}"
    return ""
