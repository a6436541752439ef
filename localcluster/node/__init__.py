"""A real Kubernetes node on this machine: kubelet, containerd, kube-proxy, the controllers, cluster DNS.

    with Node(directory, images=[archive]) as node:      # inside `namespaces.enter()`
        node.kubectl("run", "hello", "--image=…")

For the end-to-end tests alone: what can be tried against an API server without pods is tried there, where a
cluster is up in three seconds. Needs Linux and root.
"""

from localcluster.node.containers import Containerd
from localcluster.node.node import Node
from localcluster.node.prerequisites import what_is_missing

__all__ = ["Containerd", "Node", "what_is_missing"]
