"""How to reach Prometheus, or what speaks its query API (Thanos, Mimir), and as whom.

Secrets are named by file and never by value: files can be rotated while we run, and a value would be in the
pod's spec and in `ps`.
"""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from .errors import PrometheusSettingsError

QUERY_TIMEOUT_SECONDS = 10.0
_EXAMPLE = "for example http://prometheus.monitoring:9090"
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# They belong to the request itself, or are set by flags of their own.
_OURS = frozenset(
    ["accept-encoding", "cache-control", "connection", "content-length", "content-type", "host", "transfer-encoding"]
)


@dataclass(frozen=True, slots=True)
class PrometheusSettings:
    """url: what comes before `/api/v1`.

    ca_file: PEM; the only authorities that are trusted then. Without it the usual ones.
    server_name: the name in Prometheus' certificate, where it is not the URL's.
    headers: name and value; header_files: name and the file that has the value.
    timeout_seconds: for one answer, to its last byte.
    selector: label matchers that the series of pods must have, as PromQL; for who asks to add.
    """

    url: str
    bearer_token_file: Path | None = None
    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    server_name: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    header_files: tuple[tuple[str, Path], ...] = ()
    timeout_seconds: float = QUERY_TIMEOUT_SECONDS
    selector: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for complaint in (*_about_url(self.url), *self._about_credentials(), *self._about_headers()):
            raise PrometheusSettingsError(complaint)
        if not 0.1 <= self.timeout_seconds <= 300:
            raise PrometheusSettingsError(
                f"--prometheus-timeout is {self.timeout_seconds:g}; write seconds from 0.1 to 300"
            )

    @property
    def encrypted(self) -> bool:
        return self.url.startswith("https://")

    @property
    def files(self) -> tuple[tuple[str, Path], ...]:
        """Each file that must be readable, with the flag that names it."""
        named = (
            ("--prometheus-bearer-token-file", self.bearer_token_file),
            ("--prometheus-password-file", self.password_file),
            ("--prometheus-ca-file", self.ca_file),
            ("--prometheus-cert-file", self.certificate_file),
            ("--prometheus-key-file", self.key_file),
            *(("--prometheus-header-file", path) for _, path in self.header_files),
        )
        return tuple((flag, path) for flag, path in named if path is not None)

    @property
    def risk(self) -> str:
        """What a person should hear once at the start; empty when there is nothing."""
        secret = self.bearer_token_file or self.password_file or self.header_files
        if not secret or self.encrypted or _is_loopback(urlsplit(self.url).hostname or ""):
            return ""
        return (
            "The credentials for Prometheus travel unencrypted, since --prometheus-url begins with http://; "
            "whoever sees the traffic can use them. Write an https:// address."
        )

    def _about_credentials(self) -> Iterator[str]:
        basic = bool(self.username or self.password_file)
        if self.bearer_token_file and basic:
            yield (
                "--prometheus-bearer-token-file and --prometheus-username are both given, and a request can carry "
                "only one of them; leave one out"
            )
        if bool(self.username) != bool(self.password_file):
            yield "--prometheus-username and --prometheus-password-file go together; give both or neither"
        if ":" in self.username or not self.username.isprintable():
            yield "--prometheus-username has a colon or a control character, which basic authentication can't carry"
        if bool(self.certificate_file) != bool(self.key_file):
            yield "--prometheus-cert-file and --prometheus-key-file go together; give both or neither"
        if not self.encrypted:
            for flag, given in (
                ("--prometheus-ca-file", self.ca_file),
                ("--prometheus-cert-file", self.certificate_file),
                ("--prometheus-server-name", self.server_name),
            ):
                if given:
                    yield f"{flag} is given, but --prometheus-url begins with http://; write https:// or leave it out"

    def _about_headers(self) -> Iterator[str]:
        """The values are never repeated: they may be secret though they should not."""
        names: set[str] = set()
        authorized = self.bearer_token_file or self.username
        for flag, name in (
            *(("--prometheus-header", name) for name, _ in self.headers),
            *(("--prometheus-header-file", name) for name, _ in self.header_files),
        ):
            lower = name.lower()
            if not _HEADER_NAME.fullmatch(name):
                yield f"{flag} has a name that HTTP does not allow; write NAME=VALUE, for example X-Scope-OrgID=team-a"
            if lower in _OURS:
                yield f"{flag} names {name}, which is set already; leave it out"
            if lower == "authorization" and (authorized or flag == "--prometheus-header"):
                yield (
                    f"{flag} names Authorization; give it by --prometheus-bearer-token-file, by --prometheus-username "
                    "or, for another scheme, by --prometheus-header-file alone"
                )
            if lower in names:
                yield f"{flag} names {name} a second time; give it once"
            names.add(lower)
        if not all(value.isascii() and value.isprintable() for _, value in self.headers):
            yield "--prometheus-header has a value with control or non-ASCII characters, which HTTP does not allow"


def _about_url(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        yield f"--prometheus-url is no URL; write the address of Prometheus, {_EXAMPLE}"
        return
    if parts.username is not None or parts.password is not None:
        yield (
            "--prometheus-url has credentials in it, which would be logged; give them by --prometheus-username and "
            "--prometheus-password-file"
        )
    elif parts.scheme not in ("http", "https") or not host:
        yield f"--prometheus-url is {url!r}; write the address of Prometheus, {_EXAMPLE}"
    elif parts.query or parts.fragment:
        yield "--prometheus-url has something after ? or #; write only what comes before /api/v1"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
