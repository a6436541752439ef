"""Who uses the console in these tests, each with a real token and exactly the Roles that we ship."""

import json
from dataclasses import dataclass
from pathlib import Path

from localcluster import LocalCluster

ROLES = Path(__file__).parents[2] / "deploy" / "console-roles.yaml"
HOME = "people"
"""The namespace of their ServiceAccounts: what they may do elsewhere, a binding says."""


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    token: str

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{HOME}:{self.name}"


def hire(cluster: LocalCluster, name: str, role: str, namespace: str | None, seconds: int = 3600) -> Person:
    """A ServiceAccount with one of our roles, in one namespace or (None) in all."""
    token = cluster.control_plane.api.service_account_token(HOME, name, seconds)
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding" if namespace is None else "RoleBinding",
        "metadata": {"name": f"{name}-{role}", **({} if namespace is None else {"namespace": namespace})},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": HOME}],
    }
    cluster.kubectl("apply", "-f", "-", input=json.dumps(binding))
    return Person(name, token)
