"""The console as the chart installs it: nobody reaches it from the network, and it can do nothing by itself."""

import pytest
from dormouse_contract.ports import Port

from .helm import Object, container, kinds, only, template

VALUES = {"console": {"enabled": True}}


def test_it_is_off_by_default() -> None:
    assert not [found for found in template() if found["metadata"]["name"].endswith("-console")]


def test_it_has_a_service_account_that_no_role_is_bound_to_and_no_token() -> None:
    objects = template(VALUES)
    account = only(objects, "ServiceAccount", "-console")
    name = account["metadata"]["name"]
    assert account["automountServiceAccountToken"] is False
    for kind in ("RoleBinding", "ClusterRoleBinding"):
        for binding in kinds(objects, kind):
            assert name not in {subject["name"] for subject in binding["subjects"]}
    pod = only(objects, "Deployment", "-console")["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == name
    assert pod["automountServiceAccountToken"] is False
    assert "serviceAccountToken" not in str(pod["volumes"])


def test_it_listens_on_the_pods_loopback_and_no_service_leads_there() -> None:
    objects = template(VALUES)
    assert "--host=127.0.0.1" in container(objects, "console")["args"]
    labels = only(objects, "Deployment", "-console")["spec"]["template"]["metadata"]["labels"]
    for service in kinds(objects, "Service"):
        assert not service["spec"]["selector"].items() <= labels.items()


def test_the_kubelet_asks_a_listener_that_has_health_and_nothing_else() -> None:
    found = container(template(VALUES), "console")
    (port,) = found["ports"]
    assert port == {"name": "health", "containerPort": Port.CONSOLE_HEALTH}
    assert f"--health-port={Port.CONSOLE_HEALTH:d}" in found["args"]
    assert found["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "health"}


BASIC = {
    "url": "https://prometheus:9090",
    "basicAuth": {"username": "me", "secretName": "password"},
    "tls": {"caSecretName": "authority", "clientSecretName": "client", "serverName": "prometheus.internal"},
    "headers": {"X-Scope-OrgID": "ml"},
    "secretHeaders": [{"name": "X-Key", "secretName": "extra", "key": "api-key"}],
}
BEARER = {"url": "https://prometheus:9090", "bearerToken": {"secretName": "token"}}


@pytest.mark.parametrize("prometheus", [BASIC, BEARER], ids=["basic", "bearer"])
def test_it_asks_prometheus_with_the_operators_credentials(prometheus: Object) -> None:
    objects = template({**VALUES, "prometheus": prometheus})
    ours, theirs = container(objects, "console"), container(objects, "operator")
    asked = [argument for argument in ours["args"] if argument.startswith("--prometheus-")]
    assert len(asked) >= 2
    assert set(asked) <= set(theirs["args"])
    assert {one for one in theirs["args"] if one.startswith("--prometheus-")} - set(asked) == {
        "--prometheus-timeout=10"
    }
    assert credentials(objects, "-console") == credentials(objects, "dormouse") != []
    (mount,) = [each for each in ours["volumeMounts"] if each["name"] == "prometheus-credentials"]
    files = [
        argument.partition("=")[2].rpartition("=")[2] for argument in asked if f"={mount['mountPath']}/" in argument
    ]
    assert files
    paths = {item["path"] for source in credentials(objects, "-console") for item in source["secret"]["items"]}
    assert {f"{mount['mountPath']}/{path}" for path in paths} == set(files)


def credentials(objects: list[Object], deployment: str) -> list[Object]:
    """What is projected into the pod for Prometheus."""
    volumes = only(objects, "Deployment", deployment)["spec"]["template"]["spec"]["volumes"]
    (volume,) = [each for each in volumes if each["name"] == "prometheus-credentials"]
    sources: list[Object] = volume["projected"]["sources"]
    return sources
