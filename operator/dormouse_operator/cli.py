"""`dormouse-operator`: flags and environment in, a running operator out."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from dormouse_contract.ports import Port

from .errors import OperatorError, SettingsError
from .keys.settings import KeyOrigin, KeySettings
from .leadership.settings import LeaseSettings
from .prometheus.flags import NEVER, add_prometheus_flags, prometheus_settings
from .savings import command as savings_command
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
    logging.basicConfig(level=given.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Both tell of each request and each event, which at 10,000 objects is all one would see.
    for noisy in ("httpx", "kopf"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
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
    except OperatorError as error:
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

    savings_command.add_arguments(savings)
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
        "15",
        "seconds between Prometheus' scrapes of a sidecar",
        of=both,
    )
    flag("--tick", "DORMOUSE_TICK", "15", "seconds between two looks at the fleet when nothing happens")
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
    flag("--key-source", "DORMOUSE_KEY_SOURCE", "operator", f"who makes the operator's key: {', '.join(KeyOrigin)}")
    flag(
        "--key-folder", "DORMOUSE_KEY_FOLDER", "/etc/dormouse/key", "folder with tls.crt and tls.key, for the other two"
    )
    flag("--key-lifetime", "DORMOUSE_KEY_LIFETIME", "31536000", "seconds that a key made by the operator holds")
    flag("--key-overlap", "DORMOUSE_KEY_OVERLAP", "600", "seconds to wait at most until sidecars report a new key")
    flag("--metrics-host", "DORMOUSE_METRICS_HOST", "0.0.0.0", "address of /metrics and /healthz")  # noqa: S104
    flag("--metrics-port", "DORMOUSE_METRICS_PORT", str(Port.OPERATOR), "port of /metrics and /healthz")
    flag("--control-port", "DORMOUSE_CONTROL_PORT", str(Port.CONTROL), "port of the sidecars' control API")
    flag("--lease", "DORMOUSE_LEASE", "off", "on: of several operators, the one that holds the Lease acts; or off")
    flag("--lease-name", "DORMOUSE_LEASE_NAME", "dormouse-operator", "name of the Lease, in the operator's namespace")
    flag("--lease-duration", "DORMOUSE_LEASE_DURATION", "15", "seconds without a renewal until another takes over")
    flag(
        "--lease-renew-deadline", "DORMOUSE_LEASE_RENEW_DEADLINE", "10", "seconds after its last renewal a leader acts"
    )
    flag("--lease-retry", "DORMOUSE_LEASE_RETRY", "2", "seconds between two renewals")
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
        scrape_interval_seconds=_number("--scrape-interval", given.scrape_interval),
        tick_seconds=_number("--tick", given.tick),
        namespaces=tuple(name.strip() for name in given.namespaces.split(",") if name.strip()),
        direct_reading_after_seconds=(
            None
            if given.direct_reading_after == NEVER
            else _number("--direct-reading-after", given.direct_reading_after)
        ),
        managed_model_selector=given.managed_model_selector.strip(),
        metrics_host=given.metrics_host,
        metrics_port=int(_number("--metrics-port", given.metrics_port)),
        control_port=int(_number("--control-port", given.control_port)),
        key=_key_settings(given),
        lease=_lease(given),
    )


def _key_settings(given: argparse.Namespace) -> KeySettings:
    if given.key_source not in list(KeyOrigin):
        raise SettingsError(f"--key-source is {given.key_source!r}; write one of {', '.join(KeyOrigin)}")
    return KeySettings(
        source=KeyOrigin(given.key_source),
        folder=Path(given.key_folder),
        lifetime_seconds=_number("--key-lifetime", given.key_lifetime),
        overlap_seconds=_number("--key-overlap", given.key_overlap),
    )


def _lease(given: argparse.Namespace) -> LeaseSettings:
    if given.lease not in ("on", "off"):
        raise SettingsError(f"--lease is {given.lease!r}; write on or off")
    duration = _number("--lease-duration", given.lease_duration)
    if duration != int(duration):
        raise SettingsError(f"--lease-duration is {given.lease_duration}; write whole seconds, as the Lease has them")
    return LeaseSettings(
        enabled=given.lease == "on",
        name=given.lease_name,
        duration_seconds=int(duration),
        renew_deadline_seconds=_number("--lease-renew-deadline", given.lease_renew_deadline),
        retry_seconds=_number("--lease-retry", given.lease_retry),
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


def _number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise SettingsError(f"{flag} is {text!r}; write a number") from error


if __name__ == "__main__":
    sys.exit(main())
