"""The real thing: two side by side, restarts that keep the data, targets that come and go."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from localcluster import LocalCluster, Target, register_pod, remove_pod
from localcluster.errors import ApiRefused, ChildDied, KubectlFailed, QueryFailed
from tests.localcluster.processes import running_in


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(scrape_interval_seconds=0.2) as running:
        yield running


@pytest.fixture(scope="module")
def metrics_server() -> Iterator[str]:
    """Something to scrape: one gauge that is always 7, with a namespace of its own."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(b'answer{namespace="own"} 7\n')

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_two_clusters_side_by_side_do_not_know_each_other(cluster: LocalCluster) -> None:
    with LocalCluster() as other:
        other.kubectl("create", "namespace", "only-here")
        with pytest.raises(KubectlFailed, match="not found"):
            cluster.kubectl("get", "namespace", "only-here")
        directory = other.directory
        assert running_in(directory)
    assert not running_in(directory)
    assert not directory.exists()
    assert "default" in cluster.kubectl("get", "namespaces")


def test_a_restart_of_the_api_server_keeps_data_and_address(cluster: LocalCluster) -> None:
    cluster.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    cluster.control_plane.stop_api_server()
    with pytest.raises(KubectlFailed, match="refused"):
        cluster.kubectl("get", "configmap", "kept")
    cluster.control_plane.start_api_server()
    assert "kept" in cluster.kubectl("get", "configmap", "kept")


def test_a_restart_of_prometheus_keeps_data_and_address(cluster: LocalCluster, metrics_server: str) -> None:
    prometheus = cluster.prometheus
    prometheus.set_targets("restart", [Target(metrics_server)])
    before = prometheus.wait_for('answer{job="restart"}')[0].time
    prometheus.set_targets("restart", [])
    prometheus.stop()
    prometheus.start()
    past = prometheus.query(f'min_over_time(answer{{job="restart"}}[5m] @ {before + 1:.3f})')
    assert [sample.value for sample in past] == [7]


def test_a_prometheus_that_was_killed_starts_again(cluster: LocalCluster) -> None:
    cluster.prometheus.process.kill()
    cluster.prometheus.start()
    assert cluster.prometheus.query("1 + 1")[0].value == 2


def test_targets_come_and_go_while_it_runs(cluster: LocalCluster, metrics_server: str) -> None:
    prometheus = cluster.prometheus
    labels = {"namespace": "speech", "pod": "tts-0"}
    prometheus.set_targets("pods", [Target(metrics_server, labels)])
    (sample,) = prometheus.wait_for('answer{job="pods"}')
    assert sample.value == 7
    assert sample.labels["pod"] == "tts-0"
    assert sample.labels["namespace"] == "speech"
    assert sample.labels["exported_namespace"] == "own"
    assert abs(time.time() - sample.time) < 60
    prometheus.set_targets("pods", [])
    prometheus.wait_for('answer{job="pods"}', lambda found: not found)


def test_honored_labels_win(cluster: LocalCluster, metrics_server: str) -> None:
    target = Target(metrics_server, {"namespace": "speech"})
    cluster.prometheus.set_targets("operator", [target], honor_labels=True)
    (sample,) = cluster.prometheus.wait_for('answer{job="operator"}')
    assert sample.labels["namespace"] == "own"


def test_a_query_that_is_wrong_says_so(cluster: LocalCluster) -> None:
    with pytest.raises(QueryFailed, match="unclosed left parenthesis"):
        cluster.prometheus.query("sum(")


def test_a_pod_is_registered_ready_at_its_address_and_removed_at_once(cluster: LocalCluster) -> None:
    where = {"namespace": "default", "name": "tts-0"}
    uid = register_pod(cluster.control_plane, **where, ip="127.0.0.9", labels={"app": "tts"})
    line = cluster.kubectl("get", "pods", "-l", "app=tts", "-o", "wide", "--no-headers").split()
    assert line[:3] == ["tts-0", "1/1", "Running"]
    assert "127.0.0.9" in line
    assert cluster.kubectl("get", "pod", "tts-0", "-o", "jsonpath={.metadata.uid}") == uid
    remove_pod(cluster.control_plane, **where)
    assert cluster.kubectl("get", "pods", "-o", "name") == ""


def test_a_service_account_may_do_what_its_role_says_and_no_more(cluster: LocalCluster) -> None:
    cluster.kubectl("create", "role", "reader", "--verb=list", "--resource=pods")
    cluster.kubectl("create", "rolebinding", "reader", "--role=reader", "--serviceaccount=default:robot")
    robot = cluster.control_plane.service_account_kubeconfig("default", "robot")
    assert cluster.kubectl("--kubeconfig", str(robot), "get", "pods", "-o", "name") == ""
    with pytest.raises(KubectlFailed, match="system:serviceaccount:default:robot"):
        cluster.kubectl("--kubeconfig", str(robot), "get", "secrets")


def test_a_namespace_is_really_gone(cluster: LocalCluster) -> None:
    api = cluster.control_plane.api
    api.create_namespace("short-lived")
    register_pod(cluster.control_plane, namespace="short-lived", name="a", ip="127.0.0.8")
    api.remove_namespace("short-lived")
    with pytest.raises(ApiRefused, match="404"):
        api.request("GET", "/api/v1/namespaces/short-lived")
    assert api.request("GET", "/api/v1/pods")["items"] == []


def test_an_api_server_that_can_not_start_says_why() -> None:
    with pytest.raises(ChildDied, match="unknown flag: --no-such-flag"):
        LocalCluster(api_server_flags=["--no-such-flag"]).__enter__()


def test_nobody_without_a_certificate_gets_into_etcd(cluster: LocalCluster) -> None:
    """It holds everything, Secrets included, and loopback is open to every user of the machine."""
    flag = next(part for part in cluster.control_plane.etcd.command if part.startswith("--listen-client-urls="))
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{flag.partition('=')[2]}/health", verify=False, trust_env=False)  # noqa: S501


def test_the_kubeconfig_is_for_its_owner_only(cluster: LocalCluster) -> None:
    assert cluster.kubeconfig.stat().st_mode & 0o077 == 0
    assert cluster.directory.stat().st_mode & 0o077 == 0


def test_the_command_line_explains_itself() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "localcluster", "--help"]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert "python -m localcluster up --directory build/cluster" in answer.stdout
