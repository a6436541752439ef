"""The manifests that a user would write: a model server with its sidecar, a ManagedModel, Prometheus."""

from __future__ import annotations

from typing import Any

from localcluster.images.on_this_machine import BASE, PROMETHEUS, reference

from .stage import SCRAPE_SECONDS, Document

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
SIDECAR = {
    "name": "dormouse-sidecar",
    "image": reference("sidecar"),
    "restartPolicy": "Always",
    "env": [{"name": "DORMOUSE_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}],
    "ports": [
        {"name": "dormouse-control", "containerPort": 7443},
        {"name": "dormouse-metrics", "containerPort": 9743},
    ],
    "securityContext": CONTAINER_SECURITY,
    "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "192Mi"}},
    "volumeMounts": [
        {"name": "dormouse-socket", "mountPath": "/run/dormouse"},
        {"name": "dormouse-trust", "mountPath": "/etc/dormouse/trust", "readOnly": True},
    ],
}


def model_server(name: str, *, replicas: int = 1, with_dormouse: bool = True) -> list[Document]:
    """Deployment and Service. Without Dormouse: the same server alone, always awake, for comparison."""
    container: dict[str, Any] = {
        "name": "model",
        "image": reference("example"),
        "env": [{"name": "DORMOUSE_DEVICE", "value": "sim:1GiB"}],
        "ports": [{"name": "http", "containerPort": 7860}],
        "securityContext": CONTAINER_SECURITY,
        "resources": {"requests": {"cpu": "50m", "memory": "512Mi"}},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1},
        # Between the end of a pod and the moment when every kube-proxy knows, requests still arrive.
        "lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - a folder of the pod
    }
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "securityContext": POD_SECURITY,
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    labels = {"app": name}
    if with_dormouse:
        labels["dormouse.dev/sidecar"] = "true"
        container["env"].append({"name": "DORMOUSE_SOCKET", "value": "/run/dormouse/model.sock"})
        container["volumeMounts"].append({"name": "dormouse-socket", "mountPath": "/run/dormouse"})
        pod["initContainers"] = [SIDECAR]
        pod["volumes"] += [
            {"name": "dormouse-socket", "emptyDir": {"medium": "Memory"}},
            {"name": "dormouse-trust", "configMap": {"name": "dormouse-operator-trust", "optional": True}},
        ]
    else:
        container["env"].append({"name": "GPU_IDLE_TIMEOUT", "value": "never"})
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": name}},
                "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": "http"}]},
        },
    ]


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
    kubernetes_sd_configs: [{{role: pod}}]
    relabel_configs:
      - {{source_labels: [__meta_kubernetes_pod_container_port_name], regex: dormouse-metrics, action: keep}}
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
