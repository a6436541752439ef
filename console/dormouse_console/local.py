"""The API server with a kubeconfig's credentials: `kubectl proxy` on a socket that only this user can open.

kubectl knows every kind of login there is (certificates, tokens, exec plugins, OIDC, their renewal), and we none.
"""

import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from .errors import SettingsError
from .kube import TIMEOUT_SECONDS

START_SECONDS = 30.0


@contextmanager
def kubectl_proxy(kubectl: str, flags: Sequence[str]) -> Iterator[Path]:
    """The socket; `flags` choose kubeconfig and context. Blocks until it is there. Raises SettingsError."""
    with tempfile.TemporaryDirectory(prefix="dormouse-console-") as made:  # mode 0700
        folder = Path(made)
        socket, log = folder / "api.sock", folder / "log"
        command = [kubectl, *flags, "proxy", f"--unix-socket={socket}"]
        with log.open("wb") as output:
            try:
                proxy = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            except OSError as error:
                raise SettingsError(f"--kubectl is {kubectl}, which can't be run ({error}); install kubectl") from error
        try:
            _until_there(proxy, socket, log)
            yield socket
        finally:
            proxy.terminate()
            proxy.wait()


def through(socket: Path) -> httpx.AsyncClient:
    """A client that needs no credentials of its own."""
    transport = httpx.AsyncHTTPTransport(uds=str(socket))
    return httpx.AsyncClient(base_url="http://localhost", transport=transport, timeout=TIMEOUT_SECONDS, trust_env=False)


def _until_there(proxy: "subprocess.Popen[bytes]", socket: Path, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not socket.exists():
        if proxy.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace").strip()[-500:]
            raise SettingsError(f"kubectl proxy did not start: {said or 'it said nothing'}. Check the kubeconfig")
        time.sleep(0.02)
