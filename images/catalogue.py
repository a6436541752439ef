"""Which images there are, in the order in which they are built: an image may stand on an earlier one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PREFIX = "dormouse-"


@dataclass(frozen=True, slots=True)
class Image:
    """`on` is the image that this one's Containerfile names in a build argument."""

    name: str
    on: str | None = None

    @property
    def containerfile(self) -> Path:
        return ROOT / "images" / self.name / "Containerfile"

    @property
    def base_argument(self) -> str:
        """The build argument that names the base."""
        return f"{self.on.upper()}_IMAGE" if self.on else "PYTHON_IMAGE"


IMAGES = {image.name: image for image in (
    Image("sidecar"), Image("operator"), Image("console"), Image("standalone"), Image("example", on="standalone")
)}  # fmt: skip


def product_version() -> str:
    """The version of the distribution, which is the images' tag."""
    found = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    if found is None:
        raise LookupError("pyproject.toml has no version line.")
    return found[1]
