"""The product's images for a node on this machine, without any registry.

The base image is Debian itself from apt (`debootstrap`), uv comes from PyPI: two build arguments of the same
Containerfiles that users build. All of it stays in a store of its own in the cache, so it neither shows up
among the user's images nor has to be built twice. containerd takes archives, so each image is also written as
one, when it has changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from images.builder import Builder
from images.catalogue import IMAGES, PREFIX, ROOT
from images.errors import ImageUnavailable
from localcluster.cache import cache_directory, exclusive
from localcluster.progress import Progress

TAG = "e2e"
BASE = f"localhost/{PREFIX}base:{TAG}"
UV_IMAGE = f"localhost/{PREFIX}uv:{TAG}"
PROMETHEUS = f"localhost/{PREFIX}prometheus:{TAG}"
SUITE = "bookworm"
INCLUDED = "python3,python3-venv,ca-certificates"
CERTIFICATES = Path("/etc/ssl/certs")
# A user's Containerfile would name an image of a registry; here it is made of what apt brings.
BASE_CONTAINERFILE = """\
FROM scratch
ADD . /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
CMD ["sleep", "infinity"]
"""


def reference(name: str) -> str:
    """What a pod writes as its image."""
    return f"localhost/{PREFIX}{name}:{TAG}"


@dataclass(frozen=True, slots=True)
class Exported:
    """An image that containerd can be given: `command` prints its archive."""

    reference: str
    command: tuple[str, ...]


def build_all(prometheus: Path, progress: Progress) -> list[Exported]:
    """The base, the product's images and Prometheus, built as far as they are missing or have changed.

    Raises ImageUnavailable. One build at a time for each user.
    """
    store = cache_directory() / "images"
    with exclusive(store.with_suffix(".lock"), lambda: progress.say("another process builds images; waiting for it")):
        _forget_other_versions(store)
        builder = _builder(store)
        _base(builder, store, progress)
        _program(builder, UV_IMAGE, "scratch", {"uv": _uv()}, progress)
        _program(builder, PROMETHEUS, BASE, {"usr/bin/prometheus": prometheus}, progress)
        for name, image in IMAGES.items():
            progress.start(f"image {name}: building what has changed")
            below = {image.base_argument: reference(image.on) if image.on else BASE}
            builder.build(
                image.containerfile,
                reference(name),
                arguments={"UV_IMAGE": UV_IMAGE, "SSL_CERT_FILE": str(CERTIFICATES / "ca-certificates.crt"), **below},
                log=store / f"{name}.log",
            )
            progress.finish(f"image {name}")
    return [
        # Straight from the store: an archive on disk would be six more gigabytes.
        Exported(image, (*builder.command, "push", "--quiet", image, f"docker-archive:/dev/stdout:{image}"))
        # What the standalone image has is in the example's as well.
        for image in (BASE, PROMETHEUS, *(reference(name) for name in IMAGES if name != "standalone"))
    ]


def _builder(store: Path) -> Builder:
    own = ("--root", str(store / "store"), "--runroot", str(store / "run"), "--storage-driver", "overlay")
    os.environ["BUILDAH_ISOLATION"] = "chroot"  # no container runtime's rights are needed for it
    # The certificates of this machine: a proxy in between may have one that Debian does not know.
    trust = ("--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro") if CERTIFICATES.is_dir() else ()
    # buildah leaves its layers mounted; in a mount namespace of its own they are gone when it ends.
    return Builder("buildah", ("unshare", "--mount", "buildah", *own), ("--layers", *trust))


def _forget_other_versions(store: Path) -> None:
    """Start anew when the gigabytes underneath have changed, since nothing else ever removes a layer."""
    text = f"{SUITE} {INCLUDED} {BASE_CONTAINERFILE}".encode() + (ROOT / "uv.lock").read_bytes()
    digest = hashlib.sha256(text).hexdigest()
    marker = store / "made-of"
    if not marker.exists() or marker.read_text() != digest:
        shutil.rmtree(store, ignore_errors=True)
        store.mkdir(parents=True, exist_ok=True)
        marker.write_text(digest)


def _base(builder: Builder, store: Path, progress: Progress) -> None:
    if _id(builder, BASE):
        return
    progress.start(f"base image: Debian {SUITE} by debootstrap (once, about a minute)")
    with tempfile.TemporaryDirectory(dir=store) as scratch:
        system = Path(scratch, "system")
        answer = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={INCLUDED}", SUITE, str(system)],
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode != 0:
            said = "\n".join(answer.stdout.splitlines()[-8:])
            raise ImageUnavailable(f"debootstrap could not make a Debian {SUITE}:\n{said}\nNothing was kept.")
        for packages in (system / "var/cache/apt/archives").glob("*.deb"):
            packages.unlink()
        containerfile = Path(scratch, "Containerfile")
        containerfile.write_text(BASE_CONTAINERFILE)
        builder.build(containerfile, BASE, arguments={}, context=system, log=store / "base.log")
    progress.finish("base image")


def _program(builder: Builder, image: str, base: str, files: Mapping[str, Path], progress: Progress) -> None:
    """A base with single files from this machine in it."""
    if _id(builder, image):
        return
    with tempfile.TemporaryDirectory() as scratch:
        for inside, file in files.items():
            copy = Path(scratch, inside)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            copy.chmod(0o755)
        containerfile = Path(scratch, "Containerfile")
        containerfile.write_text(f"FROM {base}\n" + "".join(f"COPY {inside} /{inside}\n" for inside in files))
        builder.build(containerfile, image, arguments={}, context=Path(scratch), log=Path(scratch, "log"))
    progress.say(f"image {image}")


def _uv() -> Path:
    """The program behind scripts/uv, which fetches it when it is missing."""
    script = ROOT / "scripts" / "uv"
    subprocess.run([script, "--version"], check=True, capture_output=True)
    cached = sorted((cache_directory() / "tools").glob("uv-*"))
    found = cached[-1] if cached else shutil.which("uv")
    if found is None:
        raise ImageUnavailable("uv is neither in the cache nor on PATH. Run `make env` and try again.")
    return Path(found)


def _id(builder: Builder, image: str) -> str:
    return builder.run("images", "--quiet", "--filter", f"reference={image}")
