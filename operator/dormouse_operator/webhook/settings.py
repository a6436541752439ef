"""What `dormouse-operator webhook` can be told. Apart from flags and server, so that neither loads the other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dormouse_contract.ports import Port


@dataclass(frozen=True, slots=True)
class SidecarSettings:
    """The sidecar that is put into pods. `resources` is as in a container."""

    image: str
    pull_policy: str = "IfNotPresent"
    control_port: int = Port.CONTROL
    resources: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """`certificate_dir` has `tls.crt` and `tls.key`, as a Secret of type kubernetes.io/tls is mounted."""

    sidecar: SidecarSettings
    certificate_dir: Path
    host: str = "0.0.0.0"  # noqa: S104 - the API server comes from outside
    port: int = Port.WEBHOOK
