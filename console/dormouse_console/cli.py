"""`dormouse-console`: flags and environment in, the console out."""

import argparse
import logging
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dormouse_contract.log_lines import log_by_lines
from dormouse_contract.ports import Port
from dormouse_prometheus.errors import PrometheusError
from dormouse_prometheus.flags import add_prometheus_flags, prometheus_settings

from .errors import ConsoleError, SettingsError
from .serving import Settings, run

# A month of a large fleet is more work for Prometheus than a look at the present.
PROMETHEUS_SECONDS = 30.0
IN_CLUSTER_CA = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
EXAMPLES = """\
examples:
  on your own machine, with the rights of your kubeconfig; open the address that it prints:
    dormouse-console --local --prometheus-url http://127.0.0.1:9090
  in the cluster, where everybody brings a token of their own:
    dormouse-console --api-server-ca /etc/dormouse/ca.crt --prometheus-url http://prometheus.monitoring:9090

Each flag can be given by the variable named in its help; flags win.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser(os.environ).parse_args(arguments)
    log_by_lines()
    # It would tell of each request to the API server.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        run(_settings(given, os.environ))
    except (ConsoleError, PrometheusError) as error:
        print(f"dormouse-console: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dormouse-console",
        description="A page that shows the fleet and what its sleep saves, and lets you wake and put to sleep, as you.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def flag(name: str, variable: str, default: str | None, text: str) -> None:
        given = environment.get(variable) or default
        note = "" if default is None else f"; default {default}"
        parser.add_argument(name, default=given, help=f"{text} [{variable}{note}]")

    flag("--host", "DORMOUSE_CONSOLE_HOST", "127.0.0.1", "address to listen on; kubectl port-forward reaches this one")
    flag("--port", "DORMOUSE_CONSOLE_PORT", str(Port.CONSOLE), "port to listen on")
    flag(
        "--health-port",
        "DORMOUSE_CONSOLE_HEALTH_PORT",
        "0",
        f"port of /healthz alone, on all addresses, for a kubelet; {Port.CONSOLE_HEALTH:d} in the chart, 0 for none",
    )
    # Without the URL there are no charts.
    add_prometheus_flags((parser,), flag, environment, url=None, timeout_seconds=PROMETHEUS_SECONDS)
    flag("--api-server", "DORMOUSE_API_SERVER", None, "its https:// address; in a cluster that of the cluster")
    flag("--api-server-ca", "DORMOUSE_API_SERVER_CA", None, "PEM file that its certificate is checked with")
    parser.add_argument(
        "--local", action="store_true", help="use your kubeconfig's credentials; on a loopback address only"
    )
    parser.add_argument("--kubeconfig", default=None, help="with --local: the kubeconfig; by default kubectl's own")
    parser.add_argument("--context", default=None, help="with --local: the kubeconfig's context")
    flag("--kubectl", "DORMOUSE_KUBECTL", "kubectl", "with --local: the kubectl to reach the API server through")
    return parser


def _settings(given: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """Raises SettingsError for what makes no sense."""
    chosen = (("--kubeconfig", given.kubeconfig), ("--context", given.context))
    address, ca = ("", None) if given.local else _api_server(given, environment)
    return Settings(
        host=given.host,
        port=_port("--port", given.port, least=1),
        health_port=_port("--health-port", given.health_port, least=0),
        api_server=address,
        api_server_ca=ca,
        prometheus=prometheus_settings(given) if given.prometheus_url else None,
        local_key=(environment.get("DORMOUSE_CONSOLE_KEY") or secrets.token_urlsafe(32)) if given.local else "",
        kubectl=given.kubectl,
        kubectl_flags=tuple(f"{flag}={value}" for flag, value in chosen if value),
    )


def _port(flag: str, given: str, *, least: int) -> int:
    if not (given.isascii() and given.isdecimal() and least <= int(given) <= 65535):
        raise SettingsError(f"{flag} is {given!r}; write a port from {least} to 65535")
    return int(given)


def _api_server(given: argparse.Namespace, environment: Mapping[str, str]) -> tuple[str, Path | None]:
    ca = _file("--api-server-ca", given.api_server_ca)
    if given.api_server:
        return given.api_server, ca
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise SettingsError(
            "no API server is named: give --local to use your kubeconfig, or --api-server and --api-server-ca"
        )
    if ca is None and Path(IN_CLUSTER_CA).is_file():
        ca = Path(IN_CLUSTER_CA)
    return f"https://{f'[{host}]' if ':' in host else host}:{port}", ca


def _file(flag: str, given: str | None) -> Path | None:
    if not given:
        return None
    path = Path(given).expanduser()
    if not path.is_file():
        raise SettingsError(f"{flag} is {given}, and there is no such file; give one that exists")
    return path


if __name__ == "__main__":
    sys.exit(main())
