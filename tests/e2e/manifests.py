"""The manifests that a user would write: a model server with its sidecar, a ManagedModel, Prometheus."""

from __future__ import annotations

import yaml

from images.on_this_machine import BASE, PROMETHEUS, reference

from .stage import ROOT, SCRAPE_SECONDS, Document

POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "runAsGroup": 10001,
    "fsGroup": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
MODEL = "minilm"
SIDECAR = "dormouse-sidecar"
EXAMPLE = ROOT / "examples" / "kubernetes" / "model-server.yaml"
NOT_OF_THIS_NODE = "nvidia.com/gpu"


def model_server(name: str, *, replicas: int = 1, with_dormouse: bool = True) -> list[Document]:
    """Deployment and Service of the documented example, with images and a device that are here.

    Without Dormouse: the same server alone, always awake, for comparison.
    """
    documents = {document["kind"]: document for document in yaml.safe_load_all(EXAMPLE.read_text()) if document}
    deployment, service = documents["Deployment"], documents["Service"]
    deployment["metadata"]["name"] = service["metadata"]["name"] = name
    service["spec"]["selector"] = deployment["spec"]["selector"]["matchLabels"] = {"app": name}
    deployment["spec"] |= {"replicas": replicas, "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}
    template = deployment["spec"]["template"]
    template["metadata"]["labels"]["app"] = name
    pod = template["spec"]
    (sidecar,), (model,) = pod["initContainers"], pod["containers"]
    sidecar["image"], model["image"] = reference("sidecar"), reference("example")
    model["args"] = [word if word != "auto" else "sim:1GiB" for word in model["args"]]
    del model["resources"]["limits"][NOT_OF_THIS_NODE]
    model["resources"]["requests"] = {"cpu": "50m", "memory": "512Mi"}
    model["readinessProbe"]["periodSeconds"] = 1
    if not with_dormouse:
        del pod["initContainers"]
        model["env"] = [{"name": "GPU_IDLE_TIMEOUT", "value": "never"}]
    return [deployment, service]


def managed_model(name: str, **policy: int) -> Document:
    """For the one model of `model_server(name)`."""
    return {
        "apiVersion": "dormouse.dev/v1alpha1",
        "kind": "ManagedModel",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "model": MODEL, "policy": policy},
    }


def prometheus(namespace: str) -> list[Document]:
    """As small as it gets: it finds sidecars by their port's name and scrapes them."""
    scrape = f"""\
global: {{scrape_interval: {SCRAPE_SECONDS}s, scrape_timeout: {SCRAPE_SECONDS}s}}
scrape_configs:
  - job_name: dormouse
    sample_limit: 20000
    body_size_limit: 2MB
    kubernetes_sd_configs: [{{role: pod}}]
    relabel_configs:
      - {{source_labels: [__meta_kubernetes_pod_container_port_name], regex: dormouse-scrape, action: keep}}
      - {{source_labels: [__meta_kubernetes_namespace], target_label: namespace}}
      - {{source_labels: [__meta_kubernetes_pod_name], target_label: pod}}
"""
    subject = {"kind": "ServiceAccount", "name": "prometheus", "namespace": namespace}
    volumes = [
        {"name": "config", "configMap": {"name": "prometheus"}},
        {"name": "data", "emptyDir": {}},
    ]
    container = {
        "name": "prometheus",
        "image": PROMETHEUS,
        "command": ["prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/data"],
        "ports": [{"name": "http", "containerPort": 9090}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": "http"}, "periodSeconds": 1},
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/prometheus"},
            {"name": "data", "mountPath": "/data"},
        ],
    }
    pod = {
        "serviceAccountName": "prometheus",
        "securityContext": POD_SECURITY,
        "containers": [container],
        "volumes": volumes,
    }
    labels = {"app.kubernetes.io/name": "prometheus"}
    rbac = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "prometheus"}},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": "prometheus"}, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "prometheus"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "prometheus"},
            "subjects": [subject],
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "prometheus"},
            "data": {"prometheus.yml": scrape},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "prometheus"},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "prometheus"},
            "spec": {"selector": labels, "ports": [{"port": 9090, "targetPort": "http"}]},
        },
    ]


def bystander(name: str, image: str = BASE) -> Document:
    """A pod that has nothing to do with Dormouse, to type commands in."""
    container = {
        "name": "shell",
        "image": image,
        "command": ["sleep", "infinity"],
        "securityContext": CONTAINER_SECURITY,
    }
    spec = {
        "automountServiceAccountToken": False,
        "securityContext": POD_SECURITY,
        "containers": [container],
        "terminationGracePeriodSeconds": 0,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
