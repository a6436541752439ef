"""The kinds that Prometheus, cert-manager and Grafana operators bring, as far as a manifest needs them."""

import json
from collections.abc import Iterator

import pytest

from localcluster import ControlPlane

FOREIGN = {
    "podmonitors": ("monitoring.coreos.com", "v1", "PodMonitor"),
    "servicemonitors": ("monitoring.coreos.com", "v1", "ServiceMonitor"),
    "prometheusrules": ("monitoring.coreos.com", "v1", "PrometheusRule"),
    "certificates": ("cert-manager.io", "v1", "Certificate"),
    "grafanadashboards": ("grafana.integreatly.org", "v1beta1", "GrafanaDashboard"),
}


@pytest.fixture(scope="package")
def foreign_kinds(control_plane: ControlPlane) -> Iterator[None]:
    """Their names are real, their schemas take anything: what those operators make of them isn't tested here."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    for plural, (group, version, kind) in FOREIGN.items():
        crd = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
                "versions": [
                    {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
                ],
            },
        }
        control_plane.kubectl("apply", "--filename", "-", input=json.dumps(crd))
    for plural, (group, _, _) in FOREIGN.items():
        control_plane.api.wait_for_crd(f"{plural}.{group}")
    yield
    for plural, (group, _, _) in FOREIGN.items():
        control_plane.kubectl("delete", "crd", f"{plural}.{group}")
