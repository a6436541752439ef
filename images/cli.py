"""`python -m images`: what `make images` does."""

from __future__ import annotations

import argparse
import subprocess
import sys

from images.builder import Builder, find_builder
from images.catalogue import IMAGES, PREFIX, ROOT, Image, product_version
from images.errors import ImageUnavailable

EXAMPLES = """\
examples:
  python -m images                      all of them
  python -m images operator sidecar     only these
  python -m images --python-image docker.io/library/python:3.12-slim-bookworm@sha256:…

Each image has its bill of materials (CycloneDX) at /opt/dormouse/sbom.cdx.json.
"""


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0, or 1 with one readable message on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m images",
        description="Build the container images with docker, podman or buildah.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(IMAGES)} (default: all)")
    parser.add_argument("--python-image", help="base image (default: what the Containerfile names)")
    parser.add_argument("--uv-image", help="image with uv at /uv (default: what the Containerfile names)")
    parser.add_argument("--tag", default=product_version(), help="default: %(default)s")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in IMAGES]:
        parser.error(f"there is no image {unknown[0]!r}; choose from {', '.join(IMAGES)}")
    given = {"PYTHON_IMAGE": options.python_image, "UV_IMAGE": options.uv_image}
    bases = {key: value for key, value in given.items() if value}
    try:
        builder = find_builder()
        for name in options.names or IMAGES:
            _build(builder, IMAGES[name], options.tag, bases)
    except ImageUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _build(builder: Builder, image: Image, tag: str, bases: dict[str, str]) -> None:
    name = f"{PREFIX}{image.name}:{tag}"
    print(f"building {name} with {builder.name}", file=sys.stderr)
    below = {image.base_argument: f"{PREFIX}{image.on}:{tag}"} if image.on else {}
    labels = {"org.opencontainers.image.version": product_version(), "org.opencontainers.image.revision": _revision()}
    builder.build(image.containerfile, name, arguments=bases | below, labels=labels)
    print(name)


def _revision() -> str:
    """The commit, `unknown` outside of a checkout."""
    answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"
