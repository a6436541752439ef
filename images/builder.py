"""docker, podman or buildah: whichever works here, spoken to in the words that all three understand."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from images.catalogue import ROOT
from images.errors import ImageUnavailable

PROBE_SECONDS = 20.0
BUILDERS = ("docker", "podman", "buildah")
HOW_TO_INSTALL = "Nothing was built. Install one, for example `sudo apt-get install podman`, and try again."


@dataclass(frozen=True, slots=True)
class Builder:
    """`command` begins each call; `environment` is added to ours."""

    name: str
    command: tuple[str, ...]
    build_flags: tuple[str, ...] = ()

    def build(
        self,
        containerfile: Path,
        tag: str,
        *,
        arguments: Mapping[str, str],
        labels: Mapping[str, str] | None = None,
        context: Path = ROOT,
        log: Path | None = None,
    ) -> None:
        """Build and tag. The builder's output goes to the terminal, or to `log`. Raises ImageUnavailable."""
        given = [
            *(word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")),
            *(word for key, value in (labels or {}).items() for word in ("--label", f"{key}={value}")),
        ]
        command = [*self.command, "build", *self.build_flags, *given, "--file", str(containerfile), "--tag", tag]
        if log is None:
            status = subprocess.run([*command, str(context)], check=False).returncode
            said = "its last lines are above"
        else:
            with log.open("wb") as output:
                status = subprocess.run([*command, str(context)], check=False, stdout=output, stderr=output).returncode
            said = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        if status != 0:
            raise ImageUnavailable(
                f"{self.name} could not build {tag} from {containerfile} (status {status}):\n{said}\n"
                "Images that were there before are unharmed. When it was the network, just try again."
            )

    def run(self, *arguments: str) -> str:
        """Another command of the builder; returns what it prints. Raises ImageUnavailable."""
        answer = subprocess.run([*self.command, *arguments], capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise ImageUnavailable(f"{self.name} {' '.join(arguments)} failed:\n{answer.stderr.strip()[-2000:]}")
        return answer.stdout.strip()


def find_builder(candidates: Sequence[str] = BUILDERS) -> Builder:
    """The first that is installed and works. Raises ImageUnavailable, with what was found."""
    passed_over: list[str] = []
    for name in candidates:
        path = shutil.which(name)
        if path is None:
            continue
        # docker's client is often there without its daemon.
        try:
            probe = subprocess.run([path, "info"], capture_output=True, text=True, check=False, timeout=PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            passed_over.append(f"{path} did not answer within {PROBE_SECONDS:g} s")
            continue
        if probe.returncode == 0:
            return Builder(name, (path,), ("--layers",) if name == "buildah" else ())
        lines = probe.stderr.strip().splitlines() or ["it gave no reason"]
        passed_over.append(f"{path} does not work: {lines[-1].strip()}")
    what = "; ".join(passed_over) or f"none of {', '.join(candidates)} is installed"
    raise ImageUnavailable(f"There is no way to build container images here: {what}. {HOW_TO_INSTALL}")
