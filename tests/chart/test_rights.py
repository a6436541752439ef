"""What each service account of the chart may do, asked of the real API server with the chart's roles applied.

It is the table of `kubectl auth can-i`: the API server answers the same SubjectAccessReview.
"""

import json
from collections.abc import Iterator

import pytest

from localcluster import ControlPlane

from .helm import NAMESPACE, kinds, template

WATCHED, ELSEWHERE = "rights-watched", "rights-elsewhere"
ACCOUNTS = {"operator": "dormouse", "webhook": "dormouse-webhook", "test": "dormouse-test"}
ROLES = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
GROUPS = {
    "managedmodels": "dormouse.dev",
    "events": "events.k8s.io",
    "leases": "coordination.k8s.io",
    "customresourcedefinitions": "apiextensions.k8s.io",
    "deployments": "apps",
    "roles": "rbac.authorization.k8s.io",
    "clusterroles": "rbac.authorization.k8s.io",
    "rolebindings": "rbac.authorization.k8s.io",
    "clusterrolebindings": "rbac.authorization.k8s.io",
    "mutatingwebhookconfigurations": "admissionregistration.k8s.io",
    "certificatesigningrequests": "certificates.k8s.io",
}
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")

# resource/name, namespace (None: of the cluster) → the verbs that the operator may use.
CLUSTER_WIDE: dict[tuple[str, str | None], set[str]] = {
    **{
        key: verbs
        for namespace in (WATCHED, ELSEWHERE)
        for key, verbs in {
            ("managedmodels", namespace): {"list", "watch"},
            ("managedmodels/status", namespace): {"patch"},
            ("pods", namespace): {"list", "watch"},
            ("configmaps:dormouse-operator-trust", namespace): {"get", "create", "patch"},
            ("events", namespace): {"create", "patch"},
        }.items()
    },
    ("secrets:dormouse-operator-key", NAMESPACE): {"get", "create", "update"},
    ("secrets:another", NAMESPACE): {"create"},
    ("leases:dormouse", NAMESPACE): {"get", "create", "update"},
    ("leases:another", NAMESPACE): {"create"},
}
LISTED = {key: verbs for key, verbs in CLUSTER_WIDE.items() if key[1] in (WATCHED, NAMESPACE)}
NOTHING: dict[tuple[str, str | None], set[str]] = {}
ASKED = [
    *CLUSTER_WIDE,
    *(
        (resource, namespace)
        for namespace in (NAMESPACE, WATCHED, ELSEWHERE)
        for resource in (
            "secrets", "secrets:dormouse-operator-key", "secrets:default-token", "configmaps", "configmaps:another",
            "pods", "pods/exec", "pods/ephemeralcontainers", "pods/status", "pods/eviction", "pods/log", "deployments",
            "serviceaccounts", "serviceaccounts/token", "roles", "rolebindings", "leases", "managedmodels", "events",
        )
    ),
    *(
        (resource, None)
        for resource in (
            "secrets", "nodes", "nodes/proxy", "namespaces", "clusterroles", "clusterrolebindings", "users",
            "customresourcedefinitions", "mutatingwebhookconfigurations", "certificatesigningrequests/approval",
        )
    ),
]  # fmt: skip
ESCALATION = [
    ("impersonate", "users"),
    ("impersonate", "groups"),
    ("impersonate", "serviceaccounts"),
    ("bind", "clusterroles"),
    ("escalate", "clusterroles"),
    ("bind", "roles"),
    ("escalate", "roles"),
    ("approve", "signers"),
]


class Rights:
    def __init__(self, control_plane: ControlPlane, account: str) -> None:
        self._api, self._account = control_plane.api, account

    def may(self, verb: str, what: str, namespace: str | None) -> bool:
        resource, _, name = what.partition(":")
        resource, _, subresource = resource.partition("/")
        attributes = {
            "verb": verb, "group": GROUPS.get(resource, ""), "resource": resource, "subresource": subresource,
            "name": name, "namespace": namespace or "",
        }  # fmt: skip
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": f"system:serviceaccount:{NAMESPACE}:{self._account}",
                "groups": ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated"],
                "resourceAttributes": attributes,
            },
        }
        answer = self._api.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    def table(self) -> dict[tuple[str, str | None], set[str]]:
        found = {key: {verb for verb in VERBS if self.may(verb, *key)} for key in dict.fromkeys(ASKED)}
        return {key: verbs for key, verbs in found.items() if verbs}


@pytest.fixture(scope="module", params=["cluster-wide", "listed"])
def scope(request: pytest.FixtureRequest, control_plane: ControlPlane) -> Iterator[str]:
    """The chart's accounts and roles are there, those and nothing else of it."""
    chosen = str(request.param)
    for namespace in (NAMESPACE, WATCHED, ELSEWHERE):
        control_plane.api.create_namespace(namespace)
    values = {"webhook": {"enabled": True}, "watch": {"namespaces": [WATCHED] if chosen == "listed" else []}}
    objects = [found for kind in ROLES for found in kinds(template(values), kind)]
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    control_plane.kubectl("apply", "--filename", "-", input=manifest)
    yield chosen
    control_plane.kubectl("delete", "--filename", "-", input=manifest)
    for namespace in (NAMESPACE, WATCHED, ELSEWHERE):
        control_plane.api.remove_namespace(namespace)


def test_the_operator_may_do_this_and_nothing_else(scope: str, control_plane: ControlPlane) -> None:
    expected = CLUSTER_WIDE if scope == "cluster-wide" else LISTED
    # `create` is asked without a name for what has none yet.
    unnamed = {("secrets", NAMESPACE): {"create"}, ("leases", NAMESPACE): {"create"}}
    unnamed[("events", NAMESPACE)] = {"create", "patch"}
    more = {("secrets:default-token", NAMESPACE): {"create"}}
    if scope == "cluster-wide":
        for resource in ("managedmodels", "pods"):
            more[(resource, NAMESPACE)] = CLUSTER_WIDE[(resource, WATCHED)]
    assert Rights(control_plane, ACCOUNTS["operator"]).table() == expected | unnamed | more


@pytest.mark.parametrize("account", ["webhook", "test"])
def test_the_others_may_do_nothing(scope: str, control_plane: ControlPlane, account: str) -> None:
    assert Rights(control_plane, ACCOUNTS[account]).table() == NOTHING


@pytest.mark.parametrize("account", ACCOUNTS)
def test_nobody_can_become_somebody_else(scope: str, control_plane: ControlPlane, account: str) -> None:
    rights = Rights(control_plane, ACCOUNTS[account])
    for verb, resource in ESCALATION:
        for namespace in (NAMESPACE, WATCHED, None):
            assert not rights.may(verb, resource, namespace), (verb, resource, namespace)


@pytest.mark.parametrize("account", ACCOUNTS)
def test_nobody_reads_a_secret_outside_the_operators_namespace(
    scope: str, control_plane: ControlPlane, account: str
) -> None:
    rights = Rights(control_plane, ACCOUNTS[account])
    for namespace in (WATCHED, ELSEWHERE, "kube-system", None):
        for what in ("secrets", "secrets:dormouse-operator-key"):
            assert not [verb for verb in (*VERBS, "*") if rights.may(verb, what, namespace)], namespace
