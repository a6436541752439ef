"""A real Kubernetes API: etcd and kube-apiserver, on loopback, with their own directory and ports.

No controller manager, no scheduler, no node (`node/` adds them). What that means for whoever uses it:
- Pods are objects that one creates with a node name and sets the status of (`pods.py`); nothing runs in them.
- Deleting a Namespace never finishes, since the controller that empties it is missing (`api.py` does it by
  hand).
- No default service account or its token appears by itself; the admission plugin that insists on one is off.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from localcluster.api import Api
from localcluster.binaries import ensure_binaries
from localcluster.errors import KubectlFailed
from localcluster.kubeconfig import write_kubeconfig
from localcluster.pki import CertificateAuthority, KeyPair, write_signing_key
from localcluster.ports import reserve_port
from localcluster.process import Process

# About 3 s on 2 idle cores; a busy machine may need many times that.
READY_DEADLINE_SECONDS = 90.0
KUBECTL_DEADLINE_SECONDS = 60.0
SERVICE_RANGE = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
WITHOUT_A_NODE = (
    "--bind-address=127.0.0.1",
    "--disable-admission-plugins=ServiceAccount",
    "--endpoint-reconciler-type=none",  # it refuses loopback addresses
)


class ControlPlane:
    """Starts with `start()` or `with`. `kubeconfig` is the admin's."""

    def __init__(
        self, directory: Path, *, api_server_flags: Sequence[str] = (), node_address: str | None = None
    ) -> None:
        """`api_server_flags` are added to ours; a flag given twice counts as given last.

        `node_address` is for a cluster with a real node: the API is then on that address as well, pods reach
        it as the Service `kubernetes`, and it reaches the kubelet.
        """
        self.directory = directory
        binaries = ensure_binaries(("etcd", "kube-apiserver", "kubectl"))
        self.kubectl_path = binaries["kubectl"]
        pki = directory / "pki"
        self.authority = CertificateAuthority(pki)
        reachable = (node_address, SERVICE_ADDRESS) if node_address else ()
        serving = self.authority.issue("server", common_name="kube-apiserver", addresses=reachable)
        admin = self.authority.issue("admin", common_name="dormouse-admin", organization="system:masters")
        self.signing_key, signing_public = write_signing_key(pki, "service-accounts")
        ca = self.authority.certificate

        etcd_port, peer_port = reserve_port(), reserve_port()
        etcd_url, peer_url = f"https://127.0.0.1:{etcd_port}", f"https://127.0.0.1:{peer_port}"
        self.url = f"https://127.0.0.1:{reserve_port()}"
        port = self.url.rpartition(":")[2]
        self.etcd = Process(
            "etcd",
            [
                binaries["etcd"],
                f"--data-dir={directory / 'etcd'}",
                "--unsafe-no-fsync",  # the data needs to outlive our processes, not a power cut
                f"--listen-client-urls={etcd_url}",
                f"--advertise-client-urls={etcd_url}",
                f"--listen-peer-urls={peer_url}",
                f"--initial-advertise-peer-urls={peer_url}",
                f"--initial-cluster=default={peer_url}",
                *(f"--{side}client-cert-auth" for side in ("", "peer-")),
                *(f"--{side}trusted-ca-file={ca}" for side in ("", "peer-")),
                *(f"--{side}cert-file={serving.certificate}" for side in ("", "peer-")),
                *(f"--{side}key-file={serving.key}" for side in ("", "peer-")),
                "--log-level=warn",
            ],
            directory=directory,
        )
        self.api_server = Process(
            "kube-apiserver",
            [
                binaries["kube-apiserver"],
                f"--etcd-servers={etcd_url}",
                f"--etcd-cafile={ca}",
                f"--etcd-certfile={serving.certificate}",
                f"--etcd-keyfile={serving.key}",
                f"--secure-port={port}",
                f"--tls-cert-file={serving.certificate}",
                f"--tls-private-key-file={serving.key}",
                f"--client-ca-file={ca}",
                "--authorization-mode=Node,RBAC",
                "--allow-privileged=true",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={signing_public}",
                f"--service-account-signing-key-file={self.signing_key}",
                f"--service-cluster-ip-range={SERVICE_RANGE}",
                "--profiling=false",
                "--v=0",
                *(_with_a_node(node_address, ca, admin) if node_address else WITHOUT_A_NODE),
                *api_server_flags,
            ],
            directory=directory,
        )
        self.kubeconfig = write_kubeconfig(
            directory / "admin.kubeconfig", server=self.url, ca=ca, user="dormouse-admin", credentials=admin
        )
        self.api = Api(self.url, ca, admin)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start both and return when the API answers and its built-in roles and namespaces are there."""
        self.etcd.start()
        return self.start_api_server()

    def stop(self) -> None:
        """Stop both; the data stays in `directory`, so `start()` goes on from there."""
        self.api.close()
        self.api_server.stop()
        self.etcd.stop()

    def stop_api_server(self) -> None:
        """Take the API away, as an upgrade of a control plane does."""
        self.api_server.stop()

    def start_api_server(self) -> Self:
        """Bring it back: same port, same data, same certificates."""
        self.api_server.start()
        self.api_server.wait_until(self._answers, deadline_seconds=READY_DEADLINE_SECONDS, what="ready")
        return self

    def kubectl(self, *arguments: str, input: str | None = None, namespace: str | None = None) -> str:  # noqa: A002
        """Run kubectl as the admin and return what it prints. Raises KubectlFailed with its stderr."""
        command = [*(("--namespace", namespace) if namespace else ()), *arguments]
        answer = subprocess.run(
            [self.kubectl_path, *command],
            input=input,
            capture_output=True,
            text=True,
            timeout=KUBECTL_DEADLINE_SECONDS,
            check=False,
            env=self.kubectl_environment(),
        )
        if answer.returncode != 0:
            raise KubectlFailed(tuple(command), answer.returncode, answer.stderr)
        return answer.stdout

    def kubectl_environment(self) -> dict[str, str]:
        """This cluster only: the user's own kubeconfig, preferences and cache stay untouched."""
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "KUBECACHEDIR": str(self.directory / "kubectl-cache"),
            "HOME": str(self.directory),
            "KUBECTL_KUBERC": "false",
            "PATH": "/usr/bin:/bin",
        }

    def service_account_kubeconfig(self, namespace: str, name: str, *, seconds: int = 86400) -> Path:
        """A kubeconfig with a real token of that ServiceAccount, which is created when it is missing.

        With it an operator runs here under exactly the RBAC that was applied for its ServiceAccount.
        """
        token = self.api.service_account_token(namespace, name, seconds)
        return write_kubeconfig(
            self.directory / f"{namespace}.{name}.kubeconfig",
            server=self.url,
            ca=self.authority.certificate,
            user=f"system:serviceaccount:{namespace}:{name}",
            credentials=token,
            namespace=namespace,
        )

    def _answers(self) -> bool:
        if not self.etcd.running:
            # Its log says why; the API server would only say that it can't reach it.
            self.etcd.wait_until(lambda: False, deadline_seconds=0)
        try:
            return self.api.is_ready()
        except httpx.TransportError:
            return False


def _with_a_node(address: str, ca: Path, admin: KeyPair) -> tuple[str, ...]:
    return (
        "--bind-address=0.0.0.0",
        f"--advertise-address={address}",
        "--enable-admission-plugins=NodeRestriction",
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-certificate-authority={ca}",
        f"--kubelet-client-certificate={admin.certificate}",
        f"--kubelet-client-key={admin.key}",
    )
