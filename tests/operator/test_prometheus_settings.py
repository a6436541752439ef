"""How the operator is told of Prometheus: what goes together, what does not, and that no secret is repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
from dormouse_operator import cli
from dormouse_operator.errors import SettingsError
from dormouse_operator.settings import Settings
from dormouse_prometheus.errors import PrometheusSettingsError

SECRET = "s3cret"


def settings(*flags: str, **environment: str) -> Settings:
    known = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"} | environment
    return cli._settings(cli._parser(known).parse_args(["run", *flags]), known)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_text(SECRET)
    return made


HTTPS = "--prometheus-url=https://prometheus"
BEARER = "--prometheus-bearer-token-file=FILE"
BASIC = ("--prometheus-username=me", "--prometheus-password-file=FILE")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        pytest.param((HTTPS, BEARER, *BASIC), "only one of them", id="bearer and basic"),
        pytest.param((HTTPS, BASIC[0]), "go together", id="username alone"),
        pytest.param((HTTPS, BASIC[1]), "go together", id="password alone"),
        pytest.param((HTTPS, "--prometheus-username=a:b", BASIC[1]), "colon", id="colon"),
        pytest.param((HTTPS, "--prometheus-cert-file=FILE"), "go together", id="certificate alone"),
        pytest.param((HTTPS, "--prometheus-key-file=FILE"), "go together", id="key alone"),
        pytest.param(("--prometheus-ca-file=FILE",), "write https://", id="CA without TLS"),
        pytest.param(("--prometheus-server-name=x",), "write https://", id="name without TLS"),
        pytest.param((HTTPS, "--prometheus-ca-file=/none"), "can't be read", id="no such file"),
        pytest.param((f"--prometheus-url=http://me:{SECRET}@x",), "would be logged", id="credentials in the URL"),
        pytest.param(("--prometheus-url=prometheus:9090",), "for example", id="no scheme"),
        pytest.param(("--prometheus-url=http://[x",), "no URL", id="no URL"),
        pytest.param((f"--prometheus-url=http://x/?token={SECRET}",), "after ?", id="a query"),
        pytest.param(("--prometheus-header=X-A",), "like X-Scope-OrgID=team-a", id="header without a value"),
        pytest.param((f"--prometheus-header=X A={SECRET}",), "does not allow", id="no header name"),
        pytest.param((f"--prometheus-header=X-A={SECRET}\n1",), "control", id="a second line"),
        pytest.param((f"--prometheus-header=Host={SECRET}",), "is set already", id="our header"),
        pytest.param((f"--prometheus-header=Authorization={SECRET}",), "bearer-token-file", id="Authorization"),
        pytest.param((BEARER, "--prometheus-header-file=authorization=FILE"), "alone", id="two Authorizations"),
        pytest.param(("--prometheus-header=X-A=1", "--prometheus-header=x-a=2"), "second time", id="twice"),
        pytest.param(("--prometheus-timeout=0",), "0.1 to 300", id="no time"),
        pytest.param(("--direct-reading-after=soon",), "write a number", id="soon"),
        pytest.param(("--direct-reading-after=-1",), "or never", id="negative"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence_without_secrets(
    flags: tuple[str, ...], words: str, file: Path
) -> None:
    with pytest.raises((SettingsError, PrometheusSettingsError), match="--") as refused:
        settings(*(flag.replace("FILE", str(file)) for flag in flags))
    assert words in str(refused.value)
    assert SECRET not in str(refused.value)


def test_all_of_it_can_be_given_by_variables(file: Path) -> None:
    made = settings(
        DORMOUSE_PROMETHEUS_URL="https://mimir/prometheus",
        DORMOUSE_PROMETHEUS_BEARER_TOKEN_FILE=str(file),
        DORMOUSE_PROMETHEUS_CA_FILE=str(file),
        DORMOUSE_PROMETHEUS_CERT_FILE=str(file),
        DORMOUSE_PROMETHEUS_KEY_FILE=str(file),
        DORMOUSE_PROMETHEUS_SERVER_NAME="mimir.example",
        DORMOUSE_PROMETHEUS_HEADERS="X-Scope-OrgID=team-a|team-b\nX-Other=1,2=3\n",
        DORMOUSE_PROMETHEUS_HEADER_FILES=f"X-Key={file}",
        DORMOUSE_PROMETHEUS_TIMEOUT="3",
        DORMOUSE_DIRECT_READING_AFTER="300",
    )
    prometheus = made.prometheus
    assert prometheus.headers == (("X-Scope-OrgID", "team-a|team-b"), ("X-Other", "1,2=3"))
    assert prometheus.header_files == (("X-Key", file),)
    assert (prometheus.timeout_seconds, prometheus.server_name) == (3, "mimir.example")
    assert [path for _, path in prometheus.files] == [file] * 5
    assert made.direct_reading_after_seconds == 300


def test_given_headers_replace_those_of_the_variable() -> None:
    flags = ("--prometheus-header=X-A=1", "--prometheus-header=X-B=2")
    made = settings(*flags, DORMOUSE_PROMETHEUS_HEADERS="X-C=3")
    assert made.prometheus.headers == (("X-A", "1"), ("X-B", "2"))


def test_the_sidecars_are_never_read_directly_unless_told() -> None:
    assert settings().direct_reading_after_seconds is None


def test_values_of_headers_are_in_no_representation() -> None:
    assert SECRET not in repr(settings(f"--prometheus-header=X-A={SECRET}"))


@pytest.mark.parametrize(
    ("url", "risky"),
    [("http://prometheus:9090", True), ("http://127.0.0.1:9090", False), ("https://prometheus", False)],
)
def test_credentials_over_plain_http_are_warned_of(url: str, risky: bool, file: Path) -> None:
    made = settings(f"--prometheus-url={url}", f"--prometheus-bearer-token-file={file}")
    assert bool(made.prometheus.risk) is risky


def test_plain_http_without_credentials_is_no_risk() -> None:
    assert not settings("--prometheus-url=http://prometheus:9090").prometheus.risk
