"""A ConfigMap as a folder: what a kubelet does for a pod, for pods that run without one.

Files appear behind a `..data` symlink that is swapped in one step, exactly as in a pod, so that whoever
reads the folder sees the old files or the new ones and never half of each.
"""

from __future__ import annotations

import shutil
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from localcluster.controlplane import ControlPlane
from localcluster.errors import ApiRefused

LOOK_EVERY_SECONDS = 0.5


class ConfigMapMount:
    """Follows one ConfigMap into `folder` until the `with` block ends. A missing one is an empty folder."""

    def __init__(self, control_plane: ControlPlane, *, namespace: str, name: str, folder: Path) -> None:
        self._control_plane = control_plane
        self._path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
        self._folder = folder
        self._shown: dict[str, str] | None = None
        self._swaps = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"mount-{name}", daemon=True)

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        while True:
            # Like a kubelet: the folder stays as it is while the API server can't be had.
            with suppress(httpx.TransportError):
                self._show(self._read())
            if self._stop.wait(LOOK_EVERY_SECONDS):
                return

    def _read(self) -> dict[str, str]:
        try:
            return dict(self._control_plane.api.request("GET", self._path).get("data") or {})
        except ApiRefused as refusal:
            if refusal.status == 404:
                return {}
            raise

    def _show(self, data: dict[str, str]) -> None:
        if data == self._shown:
            return
        self._swaps += 1
        version = self._folder / f"..{self._swaps:06}"
        version.mkdir()
        for key, text in data.items():
            (version / key).write_text(text)
        link = self._folder / "..data_tmp"
        link.symlink_to(version.name)
        link.rename(self._folder / "..data")
        for key in data:
            entry = self._folder / key
            if not entry.is_symlink():
                entry.symlink_to(f"..data/{key}")
        for key in set(self._shown or {}) - set(data):
            (self._folder / key).unlink()
        for old in self._folder.glob("..0*"):
            if old.name != str((self._folder / "..data").readlink()):
                shutil.rmtree(old)
        self._shown = data
