"""The user's own kubectl, so that every kind of login works and every call has exactly their rights."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConsoleError

FIELD_MANAGER = "kubectl-dormouse"
KIND = "managedmodels.dormouse.dev"


class KubectlSaidNo(ConsoleError):
    """With what kubectl wrote to stderr, which is what the API server said."""


class Kubectl:
    """`flags` are those that kubectl itself knows: --context, --kubeconfig."""

    def __init__(self, program: str, flags: Sequence[str]) -> None:
        self._command = [program, *flags]

    def namespace(self) -> str:
        """That of the current context."""
        return self._run("config", "view", "--minify", "-o", "jsonpath={..namespace}").strip() or "default"

    def models(self, namespace: str | None) -> list[dict[str, Any]]:
        """None: of all namespaces."""
        where = ["--all-namespaces"] if namespace is None else [f"--namespace={namespace}"]
        listed = json.loads(self._run("get", KIND, *where, "-o", "json"))
        items: list[dict[str, Any]] = listed["items"]
        return items

    def model(self, namespace: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._run("get", KIND, f"--namespace={namespace}", "-o", "json", "--", name))
        return found

    def patch(self, namespace: str, name: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        changed: dict[str, Any] = json.loads(
            self._run(
                *("patch", KIND, f"--namespace={namespace}", "--type=merge", f"--field-manager={FIELD_MANAGER}"),
                *(f"--patch={json.dumps(patch)}", "-o", "json", "--", name),
            )
        )
        return changed

    def raw(self, path: str) -> str:
        """A GET of the API server, by its path."""
        return self._run("get", "--raw", path)

    def _run(self, *arguments: str) -> str:
        try:
            answer = subprocess.run(
                [*self._command, *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
            )
        except OSError as error:
            raise KubectlSaidNo(
                f"{self._command[0]} can't be run ({error}); install kubectl, or set KUBECTL"
            ) from error
        if answer.returncode != 0:
            raise KubectlSaidNo(answer.stderr.strip() or f"kubectl ended with status {answer.returncode}")
        return answer.stdout
