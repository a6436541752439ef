"""What values change, one promise of the chart each."""

import json
from base64 import b64decode
from typing import Any

import pytest
import yaml
from cryptography import x509

from .helm import CHART, NAMESPACE, ROOT, Object, container, kinds, only, template

MONITORING = {
    "podMonitor": {"enabled": True, "labels": {"release": "kps"}},
    "serviceMonitor": {"enabled": True},
    "rules": {"enabled": True, "labels": {"release": "kps"}},
    "dashboards": {"configMaps": True},
}
POLICY = {"enabled": True, "models": {"namespaces": ["speech"]}}


def arguments(objects: list[Object], name: str = "operator") -> dict[str, str]:
    return dict(argument.partition("=")[::2] for argument in container(objects, name)["args"])


def pod_specs(objects: list[Object]) -> list[Object]:
    of_deployments = [d["spec"]["template"]["spec"] for d in kinds(objects, "Deployment")]
    return of_deployments + [p["spec"] for p in kinds(objects, "Pod")]


def test_no_pod_gets_a_token_but_where_one_is_needed() -> None:
    for spec in pod_specs(template({"webhook": {"enabled": True}})):
        assert spec["automountServiceAccountToken"] is False
        (one,) = spec["containers"]
        projected = [volume for volume in spec.get("volumes", ()) if "serviceAccountToken" in str(volume)]
        assert bool(projected) == (one["name"] != "webhook")


def test_nobody_writes_to_the_root_file_system_or_runs_as_root() -> None:
    for spec in pod_specs(template({"webhook": {"enabled": True}})):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for one in spec["containers"]:
            assert one["securityContext"]["readOnlyRootFilesystem"] is True
            assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_listed_namespaces_have_roles_there_and_nothing_of_the_cluster() -> None:
    objects = template({"watch": {"namespaces": ["b", "a"]}, "crds": {"install": False}})
    assert arguments(objects)["--namespaces"] == "a,b"
    assert not [o["kind"] for o in objects if o["kind"].startswith("Cluster") or o["kind"].startswith("Custom")]
    assert [r["metadata"]["namespace"] for r in kinds(objects, "Role")] == ["a", "b", NAMESPACE]


def test_the_whole_cluster_is_the_default() -> None:
    objects = template()
    assert "--namespaces" not in arguments(objects)
    assert only(objects, "ClusterRoleBinding")["subjects"][0]["namespace"] == NAMESPACE


@pytest.mark.parametrize("keep", [True, False])
def test_the_crd_is_kept_unless_told_otherwise(keep: bool) -> None:
    crd = only(template({"crds": {"keep": keep}}), "CustomResourceDefinition")
    assert (crd["metadata"].get("annotations") or {}).get("helm.sh/resource-policy") == ("keep" if keep else None)


def test_a_digest_beats_the_tag_and_the_registry_comes_first() -> None:
    digest = "sha256:" + "a" * 64
    objects = template({"imageRegistry": "r.example.com/ml/", "image": {"digest": digest, "tag": "old"}})
    assert container(objects)["image"] == f"r.example.com/ml/dormouse-operator@{digest}"


def test_one_replica_has_no_lease_and_no_budget() -> None:
    objects = template({"replicas": 1, "lease": {"enabled": False}})
    assert not kinds(objects, "PodDisruptionBudget")
    assert "--lease" not in arguments(objects)
    assert "leases" not in str(kinds(objects, "Role"))


def test_the_lease_is_the_releases_and_its_times_fit_together() -> None:
    given = arguments(template({"lease": {"durationSeconds": 3}}, release="dormouse-eu"))
    assert given["--lease-name"] == "dormouse-eu"
    deadline, retry = float(given["--lease-renew-deadline"]), float(given["--lease-retry"])
    assert 0.1 <= retry <= deadline / 3
    assert deadline < 3


def test_credentials_are_mounted_where_the_arguments_say() -> None:
    objects = template(
        {
            "prometheus": {
                "url": "https://p",
                "basicAuth": {"username": "me", "secretName": "basic", "key": "pw"},
                "tls": {"caSecretName": "ca", "clientSecretName": "client"},
                "secretHeaders": [{"name": "X-Key", "secretName": "headers", "key": "k"}],
            }
        }
    )
    (volume,) = (v for v in pod_specs(objects)[0]["volumes"] if v["name"] == "prometheus-credentials")
    at = {
        f"/etc/dormouse/prometheus/{item['path']}": (source["secret"]["name"], item["key"])
        for source in volume["projected"]["sources"]
        for item in source["secret"]["items"]
    }
    given = arguments(objects)
    assert at[given["--prometheus-password-file"]] == ("basic", "pw")
    assert at[given["--prometheus-ca-file"]] == ("ca", "ca.crt")
    assert at[given["--prometheus-cert-file"]] == ("client", "tls.crt")
    assert at[given["--prometheus-key-file"]] == ("client", "tls.key")
    assert at[given["--prometheus-header-file"].partition("=")[2]] == ("headers", "k")


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        pytest.param({"source": "existingSecret", "secretName": "mine"}, "mine", id="existing"),
        pytest.param({"source": "certManager", "issuerRef": {"name": "i"}}, "dormouse-key-tls", id="cert-manager"),
    ],
)
def test_the_operators_key_is_mounted_as_a_folder(key: dict[str, Any], secret: str) -> None:
    objects = template({"key": key})
    (volume,) = (v for v in pod_specs(objects)[0]["volumes"] if v["name"] == "key")
    (mount,) = (m for m in container(objects)["volumeMounts"] if m["name"] == "key")
    assert volume["secret"]["secretName"] == secret
    assert mount["mountPath"] == arguments(objects)["--key-folder"]
    assert "subPath" not in mount
    if key["source"] == "certManager":
        assert only(objects, "Certificate")["spec"]["secretName"] == secret


def test_sidecars_are_scraped_as_often_as_the_operator_believes() -> None:
    objects = template({"monitoring": MONITORING, "prometheus": {"scrapeIntervalSeconds": 5}})
    (endpoint,) = only(objects, "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert endpoint["interval"] == f"{arguments(objects)['--scrape-interval']}s" == "5s"
    assert endpoint["scrapeTimeout"] == "5s"


def test_a_scrape_of_a_pod_has_limits_and_one_that_is_0_is_left_out() -> None:
    limited = only(template({"monitoring": MONITORING}), "PodMonitor")["spec"]
    models, samples_of_a_model, bytes_of_a_model = 64, 120, 8000
    assert limited["sampleLimit"] == 20_000 > 2 * models * samples_of_a_model
    assert limited["bodySizeLimit"] == "2MB"
    assert 2 * models * bytes_of_a_model < 2_000_000
    lengths = limited["labelLimit"], limited["labelNameLengthLimit"], limited["labelValueLengthLimit"]
    assert lengths == (64, 128, 512)
    # Many pods of one tenant would reach it, and then no pod of anybody is scraped.
    assert "targetLimit" not in limited
    none = {"samples": 0, "bodySize": "0", "labels": 0, "labelNameLength": 0, "labelValueLength": 0}
    values = {"monitoring": {"podMonitor": {"enabled": True, "limits": none}}}
    assert not [name for name in only(template(values), "PodMonitor")["spec"] if name.endswith("Limit")]


@pytest.mark.parametrize(
    ("monitor", "selector", "expected"),
    [
        pytest.param(True, None, f'job="{NAMESPACE}/dormouse-sidecars"', id="the chart's PodMonitor"),
        pytest.param(False, None, None, id="no PodMonitor"),
        pytest.param(True, "", None, id="every job"),
        pytest.param(False, 'job=~"a|b"', 'job=~"a|b"', id="another job"),
    ],
)
def test_series_of_other_jobs_are_not_believed(monitor: bool, selector: str | None, expected: str | None) -> None:
    values: dict[str, Any] = {"monitoring": {"podMonitor": {"enabled": monitor}}, "console": {"enabled": True}}
    objects = template(values | {"prometheus": {"selector": selector}})
    for name in ("operator", "console"):
        assert arguments(objects, name).get("--prometheus-selector") == expected


def test_labels_of_the_operators_series_are_kept_and_those_of_pods_are_not() -> None:
    objects = template({"monitoring": MONITORING})
    assert only(objects, "ServiceMonitor")["spec"]["endpoints"][0]["honorLabels"] is True
    assert only(objects, "PodMonitor")["spec"]["podMetricsEndpoints"][0]["honorLabels"] is False


def test_rules_and_dashboards_are_all_there_as_they_were_written() -> None:
    objects = template({"monitoring": MONITORING})
    rules = kinds(objects, "PrometheusRule")
    assert len(rules) == len(list((CHART / "files" / "rules").glob("*.yaml"))) > 0
    assert all(rule["metadata"]["labels"]["release"] == "kps" for rule in rules)
    assert "{{ $labels.model }}" in str(rules)
    dashboards = [c for c in kinds(objects, "ConfigMap") if c["metadata"]["labels"].get("grafana_dashboard") == "1"]
    written = {name: text for config_map in dashboards for name, text in config_map["data"].items()}
    assert written == {path.name: path.read_text().rstrip("\n") for path in (CHART / "dashboards").glob("*.json")}


def test_orders_come_from_the_operator_only_and_the_app_stays_open() -> None:
    policy = only(template({"networkPolicy": POLICY}), "NetworkPolicy", "-models")
    assert policy["metadata"]["namespace"] == "speech"
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    by_port = {port["port"]: rule.get("from") for rule in reversed(policy["spec"]["ingress"]) for port in rule["ports"]}
    (operator,) = by_port[7443]
    assert operator["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": NAMESPACE}
    assert operator["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "operator"
    assert by_port[7860] is None
    assert {p["port"] for rule in policy["spec"]["ingress"] if "from" not in rule for p in rule["ports"]} == {7860}


def test_the_operators_policy_selects_its_pods_and_the_test_may_ask() -> None:
    objects = template({"networkPolicy": POLICY})
    policy = only(objects, "NetworkPolicy", "dormouse")
    labels = only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    test = only(objects, "Pod", "-test")["metadata"]["labels"]
    allowed = [peer["podSelector"]["matchLabels"] for peer in policy["spec"]["ingress"][0]["from"]]
    assert any(selector.items() <= test.items() for selector in allowed)


def test_the_webhook_is_asked_for_labelled_pods_only_and_blocks_nobody() -> None:
    objects = template({"webhook": {"enabled": True}})
    (webhook,) = only(objects, "MutatingWebhookConfiguration")["webhooks"]
    assert webhook["objectSelector"] == {"matchLabels": {"dormouse.dev/inject": "true"}}
    assert webhook["failurePolicy"] == "Ignore"
    service, secret = only(objects, "Service", "-webhook"), only(objects, "Secret")
    assert webhook["clientConfig"]["service"]["name"] == service["metadata"]["name"]
    assert webhook["clientConfig"]["caBundle"] == secret["data"]["ca.crt"]


def test_there_is_no_webhook_by_default() -> None:
    objects = template()
    assert not kinds(objects, "MutatingWebhookConfiguration")
    assert len(kinds(objects, "Deployment")) == 1


def test_selectors_are_not_changed_by_labels_of_ones_own() -> None:
    plain, labelled = template(), template({"commonLabels": {"team": "ml"}, "podLabels": {"a": "b"}})
    assert only(plain, "Deployment")["spec"]["selector"] == only(labelled, "Deployment")["spec"]["selector"]
    assert all(o["metadata"]["labels"]["team"] == "ml" for o in labelled)
    own = {"app.kubernetes.io/name": "other"}
    labels = only(template({"commonLabels": own, "podLabels": own}), "Deployment")["spec"]["template"]["metadata"][
        "labels"
    ]
    assert labels["app.kubernetes.io/name"] == "dormouse"


def test_the_rights_are_those_that_the_integration_tests_run_with() -> None:
    """But for the Lease, which the chart keeps to the release's own name."""

    def rules(objects: list[Object]) -> set[str]:
        roles = kinds(objects, "Role") + kinds(objects, "ClusterRole")
        found = [rule for role in roles for rule in role["rules"] if rule["resources"] != ["leases"]]
        return {json.dumps({key: sorted(value) for key, value in rule.items()}, sort_keys=True) for rule in found}

    deployed = [found for found in yaml.safe_load_all((ROOT / "deploy" / "rbac.yaml").read_text()) if found]
    assert rules(template()) == rules(deployed)


def test_the_certificate_that_helm_makes_is_the_webhooks() -> None:
    objects = template({"webhook": {"enabled": True}})
    data = {name: b64decode(text) for name, text in only(objects, "Secret")["data"].items()}
    authority, served = (x509.load_pem_x509_certificate(data[name]) for name in ("ca.crt", "tls.crt"))
    served.verify_directly_issued_by(authority)
    names = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    service = only(objects, "Service", "-webhook")["metadata"]
    assert f"{service['name']}.{service['namespace']}.svc" in names.get_values_for_type(x509.DNSName)
