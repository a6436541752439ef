"""A real Kubernetes control plane and Prometheus on one machine, without Docker: for demo, tests and
benchmarks.

    with LocalCluster() as cluster:
        cluster.kubectl("get", "managedmodels")

`python -m localcluster up` runs one until Ctrl-C. `localcluster.pytest_fixtures` has the fixtures.
"""

from localcluster.cluster import LocalCluster
from localcluster.controlplane import ControlPlane
from localcluster.errors import LocalClusterError
from localcluster.pods import register_pod, remove_pod, set_pod_status
from localcluster.process import Process
from localcluster.prometheus import Prometheus, Sample, Target

__all__ = [
    "ControlPlane",
    "LocalCluster",
    "LocalClusterError",
    "Process",
    "Prometheus",
    "Sample",
    "Target",
    "register_pod",
    "remove_pod",
    "set_pod_status",
]
