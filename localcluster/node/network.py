"""The node's network: one bridge that every pod hangs on, made before anything else so that its address can be
the node's own.

There is no way out of it: a fresh network namespace has no other interface, and no test needs the internet.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

BRIDGE = "dormouse0"
NODE_ADDRESS = "10.244.0.1"
POD_RANGE = "10.244.0.0/16"
CNI_PLUGINS = Path("/usr/lib/cni")


def make_bridge() -> None:
    """In a fresh network namespace: loopback, the bridge, and forwarding between pods and Services."""
    for command in (
        "link set lo up",
        f"link add {BRIDGE} type bridge",
        f"address add {NODE_ADDRESS}/16 dev {BRIDGE}",
        f"link set {BRIDGE} up",
        # Service addresses are rewritten after the route was found, so there has to be one.
        f"route add default dev {BRIDGE}",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    settings = Path("/proc/sys/net")
    (settings / "ipv4/ip_forward").write_text("1")
    # Two pods on one bridge that meet through a Service: without it the answer is never translated back.
    for_bridges = settings / "bridge/bridge-nf-call-iptables"
    if for_bridges.exists():
        for_bridges.write_text("1")


def write_cni_configuration(folder: Path, state: Path) -> None:
    """What containerd's CNI plugin reads: bridge with addresses from the pod range, and host ports."""
    folder.mkdir(parents=True, exist_ok=True)
    plugins = [
        {
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": True,
            "ipMasq": False,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(state),
                "ranges": [[{"subnet": POD_RANGE, "gateway": NODE_ADDRESS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    configuration = {"cniVersion": "1.0.0", "name": "pods", "plugins": plugins}
    (folder / "10-pods.conflist").write_text(json.dumps(configuration, indent=2))
