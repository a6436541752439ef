"""The flags about Prometheus, and the settings made of them."""

import argparse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from .errors import PrometheusSettingsError
from .matchers import label_matchers
from .settings import QUERY_TIMEOUT_SECONDS, PrometheusSettings

NEVER = "never"
AddFlag = Callable[[str, str, str | None, str], None]
"""Name, variable, default and help."""


def add_prometheus_flags(
    commands: Iterable[argparse.ArgumentParser],
    flag: AddFlag,
    environment: Mapping[str, str],
    *,
    url: str | None = "http://127.0.0.1:9090",
    timeout_seconds: float = QUERY_TIMEOUT_SECONDS,
) -> None:
    """To each of the commands; `flag` adds what is given once. `url` and `timeout_seconds` are the defaults."""

    def repeatable(name: str, variable: str, text: str) -> None:
        """Given flags replace the variable's lines, as a flag beats its variable everywhere."""
        given = environment.get(variable) or ""
        for command in commands:
            command.add_argument(
                name,
                action=_Append,
                default=tuple(line.strip() for line in given.splitlines() if line.strip()),
                metavar="NAME=…",
                help=f"{text} [{variable}, one a line]",
            )

    prefix = "DORMOUSE_PROMETHEUS"
    flag("--prometheus-url", f"{prefix}_URL", url, "what comes before /api/v1")
    flag("--prometheus-bearer-token-file", f"{prefix}_BEARER_TOKEN_FILE", None, "file with a token, read at each look")
    flag("--prometheus-username", f"{prefix}_USERNAME", None, "for basic authentication")
    flag("--prometheus-password-file", f"{prefix}_PASSWORD_FILE", None, "file with its password, read at each look")
    flag("--prometheus-ca-file", f"{prefix}_CA_FILE", None, "PEM of the authorities to trust instead of the usual ones")
    flag("--prometheus-cert-file", f"{prefix}_CERT_FILE", None, "PEM of our client certificate (mTLS)")
    flag("--prometheus-key-file", f"{prefix}_KEY_FILE", None, "PEM of its key")
    flag("--prometheus-server-name", f"{prefix}_SERVER_NAME", None, "the name in Prometheus' certificate")
    repeatable("--prometheus-header", f"{prefix}_HEADERS", "a header as NAME=VALUE; repeatable")
    repeatable(
        "--prometheus-header-file", f"{prefix}_HEADER_FILES", "a header as NAME=FILE, for secret values; repeatable"
    )
    flag("--prometheus-timeout", f"{prefix}_TIMEOUT", f"{timeout_seconds:g}", "seconds for one answer")
    flag(
        "--prometheus-selector",
        f"{prefix}_SELECTOR",
        "",
        'label matchers of the job that scrapes the pods, for example job="dormouse-system/dormouse-sidecars"; '
        "series of other jobs are not believed. Empty for all",
    )


def prometheus_settings(given: argparse.Namespace, *, patience_seconds: float = 0.0) -> PrometheusSettings:
    """Raises PrometheusSettingsError for what makes no sense, and for a file that can't be read now.

    patience_seconds: an answer may take so long, though less was given.
    """
    settings = PrometheusSettings(
        url=given.prometheus_url,
        bearer_token_file=_path(given.prometheus_bearer_token_file),
        username=given.prometheus_username or "",
        password_file=_path(given.prometheus_password_file),
        ca_file=_path(given.prometheus_ca_file),
        certificate_file=_path(given.prometheus_cert_file),
        key_file=_path(given.prometheus_key_file),
        server_name=given.prometheus_server_name or "",
        headers=tuple(_pairs("--prometheus-header", given.prometheus_header)),
        header_files=tuple(
            (name, Path(path)) for name, path in _pairs("--prometheus-header-file", given.prometheus_header_file)
        ),
        timeout_seconds=_seconds(given.prometheus_timeout, patience_seconds),
        selector=label_matchers("--prometheus-selector", given.prometheus_selector or ""),
    )
    for flag, path in settings.files:
        try:
            path.read_bytes()
        except OSError as error:
            raise PrometheusSettingsError(
                f"{flag} is {path}, which can't be read ({error.strerror}); give a file that this process may read"
            ) from error
    return settings


class _Append(argparse.Action):
    """As `append`, but the first one given does away with the default."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        so_far = getattr(namespace, self.dest)
        setattr(namespace, self.dest, (*(() if so_far is self.default else so_far), values))


def _pairs(flag: str, entries: Iterable[str]) -> Iterable[tuple[str, str]]:
    for entry in entries:
        name, equals, value = (part.strip() for part in entry.partition("="))
        if not (name and equals and value):
            raise PrometheusSettingsError(
                f"{flag} lacks a name or what comes after the =; write it like X-Scope-OrgID=team-a"
            )
        yield name, value


def _seconds(given: str, at_least: float) -> float:
    try:
        seconds = float(given)
    except ValueError as error:
        raise PrometheusSettingsError(f"--prometheus-timeout is {given!r}; write a number") from error
    # What is out of bounds stays so, and is refused.
    return max(seconds, at_least) if seconds > 0 else seconds


def _path(given: str | None) -> Path | None:
    return Path(given).expanduser() if given else None
