"""containerd with directories of its own, and the images that it is given."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from localcluster.errors import LocalClusterError
from localcluster.node.network import CNI_PLUGINS, write_cni_configuration
from localcluster.process import Process

READY_DEADLINE_SECONDS = 60.0
IMPORT_DEADLINE_SECONDS = 600.0
CONFIGURATION = """\
version = 2
root = "{root}"
state = "{state}"
oom_score = 0

[grpc]
address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{sandbox_image}"
# Without CAP_SYS_RESOURCE, runc could not lower a pod's score and would die of it.
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{cni}"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
discard_unpacked_layers = true
"""


class Containerd:
    """`socket` is what the kubelet is told. Nothing is ever pulled: what is not imported does not run."""

    def __init__(self, directory: Path, *, sandbox_image: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.socket = Path("/run/containerd/containerd.sock")
        write_cni_configuration(directory / "cni", directory / "addresses")
        configuration = directory / "containerd.toml"
        configuration.write_text(
            CONFIGURATION.format(
                root=directory / "root",
                state="/run/containerd",
                socket=self.socket,
                sandbox_image=sandbox_image,
                plugins=CNI_PLUGINS,
                cni=directory / "cni",
            )
        )
        self.process = Process(
            "containerd", ["containerd", "--config", configuration, "--log-level", "info"], directory=directory
        )

    def start(self) -> None:
        """Return when it answers."""
        self.process.start()
        self.process.wait_until(
            lambda: self._ctr("version").returncode == 0, deadline_seconds=READY_DEADLINE_SECONDS, what="answering"
        )

    def stop(self) -> None:
        """Every container ends as well: they are the process's descendants."""
        self.process.stop()

    def load(self, printing: Sequence[str]) -> None:
        """Import the image whose archive the command `printing` prints. Raises LocalClusterError."""
        with subprocess.Popen(printing, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as source:
            answer = self._ctr("images", "import", "-", archive=source.stdout)
            said = source.stderr.read() if source.stderr is not None else ""
        if answer.returncode != 0 or source.returncode != 0:
            raise LocalClusterError(
                f"containerd could not import an image ({' '.join(printing)}):\n{said}{answer.stderr}"
                "The other images are unharmed. Is the disk full?"
            )

    def kill(self, container: str) -> None:
        """SIGKILL for one container's first process. Raises LocalClusterError."""
        answer = self._ctr("tasks", "kill", "--signal", "SIGKILL", container)
        if answer.returncode != 0:
            raise LocalClusterError(f"containerd could not kill {container}: {answer.stderr.strip()}")

    def _ctr(self, *arguments: str, archive: IO[str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", *arguments],
            stdin=archive if archive is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=IMPORT_DEADLINE_SECONDS,
        )
