"""A mounted ConfigMap, changed as the kubelet changes it: everything at once, by re-pointing `..data`."""

import itertools
import shutil
from pathlib import Path

from .certificates import Credential


class MountedTrust:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count(1)

    def publish(self, *credentials: Credential, **files: bytes) -> None:
        """The certificates in one file `operator.crt`, and further files by name (`other_crt=...`)."""
        content = {name.replace("_", "."): data for name, data in files.items()}
        if credentials:
            content["operator.crt"] = b"".join(credential.pem for credential in credentials)
        self.folder.mkdir(parents=True, exist_ok=True)
        generation = self.folder / f"..2026_01_01_{next(self._numbers)}"
        generation.mkdir()
        for name, data in content.items():
            (generation / name).write_bytes(data)
        link = self.folder / "..data"
        before = link.resolve() if link.is_symlink() else None
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(generation.name)
        fresh.rename(link)
        for name in content:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        for path in self.folder.iterdir():
            if not path.name.startswith("..") and path.name not in content:
                path.unlink()
        if before is not None:
            shutil.rmtree(before)

    def withdraw(self) -> None:
        """The ConfigMap was deleted; it is mounted `optional`, so the folder stays and is empty."""
        self.publish()
