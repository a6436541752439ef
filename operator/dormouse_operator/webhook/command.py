"""`dormouse-operator webhook`: its flags, and the settings made of them."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dormouse_contract.ports import Port

from ..errors import SettingsError
from .settings import SidecarSettings, WebhookSettings

EXAMPLE = """\
example:
  dormouse-operator webhook --sidecar-image registry.example.com/ml/dormouse-sidecar:0.1.0

It answers POST /inject, as a MutatingWebhookConfiguration asks, and GET /healthz. It needs no right in the cluster.
Each flag can be given by the variable named in its help; flags win.
"""
PULL_POLICIES = ("Always", "IfNotPresent", "Never")


def add_webhook(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", environment: Mapping[str, str]
) -> None:
    webhook = commands.add_parser(
        "webhook",
        help="put the sidecar into the pods that ask for it, until stopped",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def flag(name: str, variable: str, default: str | None, text: str) -> None:
        note = "" if default is None else f"; default {default}"
        webhook.add_argument(name, default=environment.get(variable) or default, help=f"{text} [{variable}{note}]")

    flag("--sidecar-image", "DORMOUSE_SIDECAR_IMAGE", None, "the image that is put into pods; required")
    flag("--sidecar-pull-policy", "DORMOUSE_SIDECAR_PULL_POLICY", "IfNotPresent", "Always, IfNotPresent or Never")
    flag("--sidecar-resources", "DORMOUSE_SIDECAR_RESOURCES", "{}", "its requests and limits, as JSON")
    flag("--control-port", "DORMOUSE_CONTROL_PORT", str(Port.CONTROL), "its port for orders")
    flag("--certificate-dir", "DORMOUSE_WEBHOOK_CERTIFICATE_DIR", "/etc/dormouse/webhook", "has tls.crt and tls.key")
    flag("--host", "DORMOUSE_WEBHOOK_HOST", "0.0.0.0", "address to listen on")  # noqa: S104
    flag("--port", "DORMOUSE_WEBHOOK_PORT", str(Port.WEBHOOK), "port to listen on")
    flag("--log-level", "DORMOUSE_LOG_LEVEL", "info", "debug, info, warning or error")


def webhook_settings(given: argparse.Namespace) -> WebhookSettings:
    """Raises SettingsError for what makes no sense."""
    if not given.sidecar_image:
        raise SettingsError("--sidecar-image is not given; name the image of dormouse-sidecar that pods can pull")
    if given.sidecar_pull_policy not in PULL_POLICIES:
        raise SettingsError(f"--sidecar-pull-policy is {given.sidecar_pull_policy!r}; write {', '.join(PULL_POLICIES)}")
    return WebhookSettings(
        sidecar=SidecarSettings(
            image=given.sidecar_image,
            pull_policy=given.sidecar_pull_policy,
            control_port=_port("--control-port", given.control_port),
            resources=_resources(given.sidecar_resources),
        ),
        certificate_dir=Path(given.certificate_dir),
        host=given.host,
        port=_port("--port", given.port),
    )


def _resources(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not set(found) <= {"requests", "limits", "claims"}:
        raise SettingsError(f'--sidecar-resources is {text!r}; write JSON such as {{"limits": {{"memory": "192Mi"}}}}')
    return found


def _port(flag: str, text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise SettingsError(f"{flag} is {text!r}; write a port from 1 to 65535")
    return int(text)
