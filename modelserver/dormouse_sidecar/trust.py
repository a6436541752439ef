"""Which certificates may give orders: the leaf certificates in a mounted folder, and nothing else.

The folder is a ConfigMap that the operator publishes. The kubelet replaces its content at once by
re-pointing the `..data` link, so a read during that moment is done again rather than believed. An absent
or unreadable folder means that nobody is trusted.
"""

import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from dormouse_contract.printable import printable

# A ConfigMap holds at most 1 MiB; a certificate is about 1 KiB.
_MAX_FILE_BYTES = 1024 * 1024
_SUFFIXES = (".crt", ".pem")
_ATTEMPTS = 3
_MAX_QUOTED_CHARACTERS = 200
_PEM_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----.*?(?:-----END CERTIFICATE-----|(?=-----BEGIN )|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Anchor:
    """One trusted certificate. `der` is what a client must present, byte for byte; `expires_at` is Unix."""

    der: bytes
    expires_at: float
    subject: str


@dataclass(frozen=True, slots=True)
class Trust:
    """What the folder said at one moment. `faults` are sentences for the log; what they name is left out."""

    anchors: tuple[Anchor, ...] = ()
    faults: tuple[str, ...] = ()

    def usable_at(self, now: float) -> tuple[Anchor, ...]:
        """The anchors that have not expired."""
        return tuple(anchor for anchor in self.anchors if anchor.expires_at > now)

    @property
    def latest_expiry(self) -> float:
        """Unix time at which the last of them expires, also when that is past; 0 without any."""
        return max((anchor.expires_at for anchor in self.anchors), default=0.0)


@dataclass(frozen=True, slots=True)
class FolderContent:
    """The files of the folder as bytes, so that a change is a change of content and not of a time stamp."""

    files: tuple[tuple[str, bytes], ...] = ()
    faults: tuple[str, ...] = ()


def read_folder(folder: Path) -> FolderContent:
    """Every `*.crt` and `*.pem` of the folder, links followed. Never raises for what is in the folder."""
    for _ in range(_ATTEMPTS - 1):
        before = _generation(folder)
        content = _read_once(folder)
        if not content.faults and _generation(folder) == before:
            return content
    return _read_once(folder)


def parse(content: FolderContent) -> Trust:
    """The certificates in these files; those that can't be read are reported and left out."""
    anchors: dict[bytes, Anchor] = {}
    faults = list(content.faults)
    for name, data in content.files:
        blocks = _PEM_BLOCK.findall(data)
        if not blocks:
            faults.append(f"{name}: holds no PEM certificate; it is left out")
        for number, block in enumerate(blocks, start=1):
            try:
                anchor = _anchor(block)
            except (ValueError, ssl.SSLError) as error:
                why = printable(error, _MAX_QUOTED_CHARACTERS)
                faults.append(f"{name}: certificate {number} can't be read ({why}); it is left out")
            else:
                anchors[anchor.der] = anchor
    return Trust(tuple(anchors.values()), tuple(faults))


def _anchor(pem: bytes) -> Anchor:
    certificate = x509.load_pem_x509_certificate(pem)
    der = certificate.public_bytes(Encoding.DER)
    # OpenSSL has the last word, and it should have it here and not when the context is made.
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=der)
    subject = printable(certificate.subject.rfc4514_string(), _MAX_QUOTED_CHARACTERS)
    return Anchor(der, certificate.not_valid_after_utc.timestamp(), subject)


def _read_once(folder: Path) -> FolderContent:
    files: list[tuple[str, bytes]] = []
    faults: list[str] = []
    try:
        names = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return FolderContent()
    except OSError as error:
        return FolderContent(faults=(f"{folder} can't be listed: {error.strerror}",))
    for name in names:
        if not name.endswith(_SUFFIXES) or name.startswith(".."):
            continue
        path = folder / name
        try:
            if not path.is_file():
                faults.append(f"{name}: is not a file; it is left out")
                continue
            with path.open("rb") as file:
                data = file.read(_MAX_FILE_BYTES + 1)
        except OSError as error:
            faults.append(f"{name}: can't be read ({error.strerror}); it is left out")
            continue
        if len(data) > _MAX_FILE_BYTES:
            faults.append(f"{name}: is larger than {_MAX_FILE_BYTES} bytes; it is left out")
            continue
        files.append((name, data))
    return FolderContent(tuple(files), tuple(faults))


def _generation(folder: Path) -> str:
    """Where the kubelet's `..data` points: it changes once per update, whatever the number of files."""
    try:
        return str((folder / "..data").readlink())
    except OSError:
        return ""
