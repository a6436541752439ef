"""`dormouse-operator`: flags and environment in, a running operator out."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from dormouse_contract.defaults import SCRAPE_INTERVAL_SECONDS, TICK_SECONDS
from dormouse_contract.log_lines import log_by_lines
from dormouse_contract.ports import Port
from dormouse_contract.savings.question import add_arguments
from dormouse_prometheus.errors import PrometheusError
from dormouse_prometheus.flags import NEVER, add_prometheus_flags, prometheus_settings

from . import savings as savings_command
from .errors import OperatorError, SettingsError
from .flags import number, text_of
from .keys.flags import add_key_flags, key_settings
from .leadership.flags import add_lease_flags, lease_settings
from .settings import Settings
from .webhook.command import add_webhook, webhook_settings

SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
LOG_LEVELS = ("debug", "info", "warning", "error")
Parser = argparse.ArgumentParser
DEFAULT_NAMESPACE = "dormouse-system"
EXAMPLES = """\
examples:
  in the cluster, with the pod's service account:
    dormouse-operator run --prometheus-url http://prometheus.monitoring:9090
  from a desk, on one namespace, looking every second:
    dormouse-operator run --kubeconfig ~/.kube/config --prometheus-url http://127.0.0.1:9090 \\
        --namespaces speech --scrape-interval 1 --tick 1 --metrics-host 127.0.0.1
  with a token, at a Prometheus that wants one:
    dormouse-operator run --prometheus-url https://thanos-query.monitoring:9091 \\
        --prometheus-bearer-token-file /var/run/secrets/kubernetes.io/serviceaccount/token \\
        --prometheus-ca-file /etc/prometheus-ca/ca.crt

Each flag can be given by the variable named in its help; flags win.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser(os.environ)
    given = parser.parse_args(arguments)
    if given.log_level.lower() not in LOG_LEVELS:
        parser.error(f"--log-level is {given.log_level!r}; write {', '.join(LOG_LEVELS)}")
    log_by_lines(given.log_level.upper())
    # Both tell of each request and each event, which at 10,000 objects is all one would see.
    for noisy in ("httpx", "kopf"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
    # Why a watch ended is said once where it is begun anew (`cluster/watch.py`); kopf adds a traceback for each task.
    if logging.getLogger().level > logging.DEBUG:
        for noisy in ("kopf._cogs", "kopf._core.engines", "kopf._core.reactor", "kopf.activities"):
            logging.getLogger(noisy).setLevel(logging.CRITICAL)
    try:
        if given.command == "savings":
            print(asyncio.run(savings_command.run(given)))
            return 0
        if given.command == "webhook":
            _webhook(given)
            return 0
        settings = _settings(given, os.environ)
        # Imported late, so that `--help` does not wait for kopf.
        from .app import run

        asyncio.run(run(settings))
    except (OperatorError, PrometheusError) as error:
        print(f"dormouse-operator: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dormouse-operator",
        description="Lets idle model servers sleep, as the ManagedModels of the cluster say.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="watch ManagedModels and send orders until stopped",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    savings = commands.add_parser(
        "savings",
        help="tell what sleeping saved, by ManagedModel, namespace and fleet",
        description="What sleeping saved and what it cost in waiting, from the figures that Prometheus has.",
        epilog=savings_command.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def flag(name: str, variable: str, default: str | None, text: str, *, of: tuple[Parser, ...] = (run,)) -> None:
        given = environment.get(variable) or default
        note = "" if default is None else f"; default {default}"
        for command in of:
            command.add_argument(name, default=given, help=f"{text} [{variable}{note}]")

    savings.add_argument("--namespace", default=None, help="only this namespace; by default all")
    add_arguments(savings)
    both = (run, savings)
    flag("--kubeconfig", "KUBECONFIG", None, "kubeconfig file; without one, the pod's service account")
    add_prometheus_flags(both, partial(flag, of=both), environment)
    flag(
        "--direct-reading-after",
        "DORMOUSE_DIRECT_READING_AFTER",
        NEVER,
        "seconds without Prometheus after which the sidecars are read directly",
    )
    flag(
        "--scrape-interval",
        "DORMOUSE_SCRAPE_INTERVAL",
        text_of(SCRAPE_INTERVAL_SECONDS),
        "seconds between Prometheus' scrapes of a sidecar",
        of=both,
    )
    flag(
        "--tick",
        "DORMOUSE_TICK",
        text_of(TICK_SECONDS),
        "seconds between two looks at the fleet when nothing happens",
    )
    flag("--namespaces", "DORMOUSE_NAMESPACES", "", "comma-separated; empty for the whole cluster")
    flag(
        "--managed-model-selector",
        "DORMOUSE_MANAGED_MODEL_SELECTOR",
        "",
        "labels of the ManagedModels that are this operator's, as kubectl -l takes them; empty for all",
    )
    flag(
        "--operator-namespace",
        "DORMOUSE_OPERATOR_NAMESPACE",
        None,
        "where the operator's key is kept; by default the pod's own namespace, outside dormouse-system",
    )
    add_key_flags(flag)
    flag("--metrics-host", "DORMOUSE_METRICS_HOST", "0.0.0.0", "address of /metrics and /healthz")  # noqa: S104
    flag("--metrics-port", "DORMOUSE_METRICS_PORT", str(Port.OPERATOR), "port of /metrics and /healthz")
    flag("--control-port", "DORMOUSE_CONTROL_PORT", str(Port.CONTROL), "port of the sidecars' control API")
    add_lease_flags(flag)
    flag("--log-level", "DORMOUSE_LOG_LEVEL", "info", "debug, info, warning or error", of=both)
    add_webhook(commands, environment)
    return parser


def _webhook(given: argparse.Namespace) -> None:
    # As above: aiohttp is for this command only.
    from .webhook.admission import run

    asyncio.run(run(webhook_settings(given)))


def _settings(given: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """Raises SettingsError for what makes no sense."""
    return Settings(
        kubeconfig=_kubeconfig(given.kubeconfig, environment),
        prometheus=prometheus_settings(given),
        operator_namespace=given.operator_namespace or _own_namespace(),
        scrape_interval_seconds=number("--scrape-interval", given.scrape_interval),
        tick_seconds=number("--tick", given.tick),
        namespaces=tuple(name.strip() for name in given.namespaces.split(",") if name.strip()),
        direct_reading_after_seconds=(
            None
            if given.direct_reading_after == NEVER
            else number("--direct-reading-after", given.direct_reading_after)
        ),
        managed_model_selector=given.managed_model_selector.strip(),
        metrics_host=given.metrics_host,
        metrics_port=_port("--metrics-port", given.metrics_port),
        control_port=_port("--control-port", given.control_port),
        key=key_settings(given),
        lease=lease_settings(given),
    )


def _kubeconfig(given: str | None, environment: Mapping[str, str]) -> Path | None:
    if not given:
        if "KUBERNETES_SERVICE_HOST" in environment:
            return None
        raise SettingsError("no cluster is named: give --kubeconfig, or run in a pod with a service account")
    path = Path(given).expanduser()
    if not path.is_file():
        raise SettingsError(f"--kubeconfig is {given}, and there is no such file; give one that exists")
    return path


def _own_namespace() -> str:
    try:
        return SERVICE_ACCOUNT_NAMESPACE.read_text().strip() or DEFAULT_NAMESPACE
    except OSError:
        return DEFAULT_NAMESPACE


def _port(flag: str, text: str) -> int:
    port = number(flag, text)
    if not port.is_integer():
        raise SettingsError(f"{flag} is {text}; write a port from 0 to 65535")
    return int(port)


if __name__ == "__main__":
    sys.exit(main())
