"""`kubectl dormouse`: what the console shows and does, in a terminal. kubectl finds it on the PATH by its name."""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from dormouse_contract.defaults import SCRAPE_INTERVAL_SECONDS
from dormouse_contract.managed_model import managed_model
from dormouse_contract.printable import printable_lines
from dormouse_contract.savings.question import BadQuestion, add_arguments, question
from dormouse_prometheus.api import at_one_instant
from dormouse_prometheus.connection import PrometheusConnection
from dormouse_prometheus.errors import PrometheusError
from dormouse_prometheus.flags import add_prometheus_flags, prometheus_settings
from dormouse_prometheus.matchers import label_matchers
from dormouse_prometheus.settings import PrometheusSettings

from ..changes import Change, has_no_effect_because, patch_for
from ..errors import ConsoleError, SettingsError
from ..idleness import look
from ..promql import Scope
from ..replicas import as_json
from ..timeseries import NoFigures, TimeSeries
from .kubectl import Kubectl
from .moments import moment
from .printed import explained, top
from .through_service import URL, ThroughService

QUERY_SECONDS = 60.0
EXAMPLES = """\
examples:
  kubectl dormouse top -A                       everything, and why it is where it is
  kubectl dormouse explain tts -n speech        one model: conditions, last move, what comes next
  kubectl dormouse wake tts                     to the GPU now; the policy goes on after two minutes
  kubectl dormouse sleep tts --unload           out of host RAM as well, once no request is running
  kubectl dormouse pin tts --until 18:00        stays on the GPU until then (or 2h, or 2026-12-01T18:00)
  kubectl dormouse auto tts                     back to the policy
  kubectl dormouse savings --since 7d --prometheus-service monitoring/prometheus-operated:9090

It calls your kubectl, so it has your rights and knows your login. KUBECTL names another binary.
"""
_SAID = {
    Change.WAKE: "goes to the GPU",
    Change.OFFLOAD: "goes to host RAM once no request is running",
    Change.UNLOAD: "leaves host RAM as well, once no request is running",
    Change.PIN: "stays on the GPU until {until}",
    Change.AUTO: "follows its policy again",
    Change.PAUSE: "gets no orders until it is resumed; requests still wake it",
    Change.RESUME: "follows its policy again",
}


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser(os.environ).parse_args(arguments)
    try:
        print(_run(given, os.environ))
    except (ConsoleError, PrometheusError) as error:
        # kubectl's own words among them, which may quote an object of somebody else.
        print(printable_lines(f"kubectl dormouse: {error}"), file=sys.stderr)
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 130
    return 0


def _run(given: argparse.Namespace, environment: Mapping[str, str]) -> str:
    chosen = (("--kubeconfig", given.kubeconfig), ("--context", given.context))
    kubectl = Kubectl(environment.get("KUBECTL") or "kubectl", [f"{flag}={value}" for flag, value in chosen if value])
    match given.command:
        case "top":
            namespace = None if given.all_namespaces else given.namespace or kubectl.namespace()
            models = kubectl.models(namespace)
            if not models:
                return f"No ManagedModel in {'any namespace' if namespace is None else f'namespace {namespace}'}."
            return top(models, time.time(), namespace is None, sys.stdout.isatty() and "NO_COLOR" not in environment)
        case "savings":
            return asyncio.run(_savings(given, kubectl))
        case "explain":
            return asyncio.run(_explain(given, kubectl))
    return _change(given, kubectl)


def _change(given: argparse.Namespace, kubectl: Kubectl) -> str:
    namespace = given.namespace or kubectl.namespace()
    until = moment(given.until, datetime.now().astimezone()) if given.command == "pin" else None
    change = Change.OFFLOAD if given.command == "sleep" else Change(given.command)
    if given.command == "sleep" and given.unload:
        change = Change.UNLOAD
    patch = patch_for(change, time.time(), None if until is None else until.timestamp())
    body = kubectl.patch(namespace, given.name, patch)
    when = "" if until is None else until.strftime("%Y-%m-%d %H:%M")
    said = f"{namespace}/{given.name} {_SAID[change].format(until=when)}."
    because = has_no_effect_because(change, managed_model(body).policy.mode)
    return said if not because else f"{said} But {because}."


async def _explain(given: argparse.Namespace, kubectl: Kubectl) -> str:
    namespace = given.namespace or kubectl.namespace()
    body = kubectl.model(namespace, given.name)
    now = time.time()
    replicas: list[dict[str, Any]] | str
    try:
        replicas = await _replicas(given, kubectl, body, now)
    except NoFigures as error:
        replicas = str(error)
    if given.output == "json":
        return json.dumps({"managedModel": body, "replicas": replicas}, indent=2)
    return explained(body, replicas, now)


async def _replicas(
    given: argparse.Namespace, kubectl: Kubectl, body: Mapping[str, Any], now: float
) -> list[dict[str, Any]] | str:
    if not given.prometheus_url and not given.prometheus_service:
        return "give --prometheus-url or --prometheus-service to see each replica and when the next step comes"
    managed = managed_model(body)
    selector = _selector(given)
    scope = Scope(managed.namespace, selector)
    async with _prometheus(given, kubectl) as connection:
        prometheus = TimeSeries(connection, selector=selector)
        owners = await prometheus.instant(scope.owners(given.name, 300), now)
        owned = {(each.labels.get("pod", ""), each.labels.get("model", "")) for each in owners}
        if not owned:
            return "Prometheus knows no replica of it; is the operator scraped, and has it pods?"
        found = await look(prometheus, managed.namespace, {pod for pod, _ in owned})
    # Without the pods' own list, what has no reading may be gone as well as missing: the conditions say which.
    keys = [key for each in sorted(owned) if (key := (managed.namespace, *each)) in found.signal.readings]
    if not keys:
        return "Prometheus has no figures of its replicas at the moment; the conditions say why"
    return [as_json(key, found, managed.policy, now) for key in keys]


async def _savings(given: argparse.Namespace, kubectl: Kubectl) -> str:
    if not given.prometheus_url and not given.prometheus_service:
        raise SettingsError(
            "savings are kept by Prometheus: give --prometheus-url (or DORMOUSE_PROMETHEUS_URL), or "
            "--prometheus-service NAMESPACE/NAME:PORT to reach it through the API server"
        )
    try:
        asked = question(given)
    except BadQuestion as error:
        raise SettingsError(str(error)) from error
    async with _prometheus(given, kubectl) as prometheus:
        now = time.time()
        answers = await at_one_instant(prometheus, asked.queries(_selector(given)), now)
    return asked.answer({name: vector.samples for name, vector in answers.items()}, now)


def _selector(given: argparse.Namespace) -> tuple[str, ...]:
    return label_matchers("--prometheus-selector", given.prometheus_selector or "")


@asynccontextmanager
async def _prometheus(given: argparse.Namespace, kubectl: Kubectl) -> AsyncIterator[PrometheusConnection]:
    """By its URL with the credentials that are given, or through the API server with those of kubectl."""
    transport = None
    if given.prometheus_service:
        transport = ThroughService(kubectl, given.prometheus_service)
        settings = PrometheusSettings(URL, timeout_seconds=QUERY_SECONDS)
    else:
        settings = prometheus_settings(given)
    if settings.risk:
        print(f"kubectl dormouse: {settings.risk}", file=sys.stderr)
    connection = PrometheusConnection(settings, transport, user_agent="kubectl-dormouse")
    try:
        yield connection
    finally:
        await connection.close()


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kubectl dormouse",
        description="Shows which models sleep and why, wakes them and puts them to sleep, with your rights.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument("-n", "--namespace", default=None, help="by default that of your context")
    everywhere.add_argument("--context", default=None, help="of the kubeconfig")
    everywhere.add_argument("--kubeconfig", default=None, help="by default kubectl's own")
    figures_from = argparse.ArgumentParser(add_help=False)

    def flag(name: str, variable: str, default: str | None, text: str) -> None:
        note = "" if default is None else f"; default {default}"
        given = environment.get(variable) or default
        figures_from.add_argument(name, default=given, help=f"{text} [{variable}{note}]")

    add_prometheus_flags((figures_from,), flag, environment, url=None, timeout_seconds=QUERY_SECONDS)
    figures_from.add_argument(
        "--prometheus-service",
        default=environment.get("DORMOUSE_PROMETHEUS_SERVICE") or None,
        help="NAMESPACE/NAME:PORT instead, reached through the API server with your own rights "
        "[DORMOUSE_PROMETHEUS_SERVICE]",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            parents=[everywhere, *parents],
            epilog=EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    command("top", "list models: where they are, where they should be, and why").add_argument(
        "-A", "--all-namespaces", action="store_true", help="of all namespaces"
    )
    explain = command("explain", "say why a model is where it is and what comes next", figures_from)
    explain.add_argument("-o", "--output", default="text", choices=("text", "json"))
    pin = command("pin", "keep a model on the GPU until a time")
    pin.add_argument("--until", required=True, help="2h, 30m, 18:00 or 2026-12-01T18:00, in your time zone")
    sleep = command("sleep", "move a model's weights off the GPU once no request is running")
    sleep.add_argument("--unload", action="store_true", help="out of host RAM as well")
    changing = {
        "wake": command("wake", "bring a model to the GPU now"),
        "sleep": sleep,
        "pin": pin,
        "auto": command("auto", "let the policy decide again"),
        "pause": command("pause", "order nothing until it is resumed"),
        "resume": command("resume", "set the mode to Active"),
        "explain": explain,
    }
    for each in changing.values():
        each.add_argument("name", metavar="NAME", help="of the ManagedModel")
    savings = command("savings", "what sleeping saved, from Prometheus", figures_from)
    savings.add_argument("-A", "--all-namespaces", action="store_true", help="the default, unless -n is given")
    add_arguments(savings)
    scrape = f"{SCRAPE_INTERVAL_SECONDS:g}"
    savings.add_argument("--scrape-interval", default=scrape, help=f"Prometheus' for the sidecars (default {scrape} s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
