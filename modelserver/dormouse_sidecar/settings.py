"""What a sidecar is told, checked at once so that a mistake shows at start and not at the first order."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from dormouse_contract.ports import Port

from .limits import Limits

# It becomes a name in the sidecar's certificate. A UUID, except for static pods.
_POD_UID = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9.]{0,61}[A-Za-z0-9])?")


class InvalidSetting(ValueError):
    """The message names the setting and says what to write."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All of a sidecar's settings.

    pod_uid: of this pod, from the downward API; orders for another one are refused.
    socket_path: where the model process listens.
    trust_dir: the mounted folder with the operator's certificates (`*.crt`, `*.pem`); may be absent.
    control_port, plain_port: 0 takes a free one.
    trust_poll_seconds: how often the folder is read; as long may a change of trust take.
    stop_grace_seconds: how long answers under way may take when the sidecar is stopped.
    """

    pod_uid: str
    socket_path: Path = Path("/run/dormouse/model.sock")
    trust_dir: Path = Path("/etc/dormouse/trust")
    control_host: str = "0.0.0.0"  # noqa: S104 - the operator comes from outside the pod; mTLS guards it
    control_port: int = Port.CONTROL
    plain_host: str = "0.0.0.0"  # noqa: S104 - Prometheus and the kubelet come from outside the pod
    plain_port: int = Port.SIDECAR
    trust_poll_seconds: float = 1.0
    stop_grace_seconds: float = 5.0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.pod_uid:
            raise InvalidSetting(
                "the pod's UID is not set; set DORMOUSE_POD_UID from metadata.uid with the downward API, or "
                "give --pod-uid"
            )
        if _POD_UID.fullmatch(self.pod_uid) is None:
            raise InvalidSetting(
                f"the pod's UID is {self.pod_uid!r}; write metadata.uid of the pod: letters, digits, dashes"
            )
        for name, port in (("control", self.control_port), ("plain", self.plain_port)):
            if not 0 <= port <= 65535:
                raise InvalidSetting(f"the {name} port is {port}; write 1 to 65535, or 0 for a free one")
        for name, seconds in (
            ("the trust poll interval", self.trust_poll_seconds),
            ("the request timeout", self.limits.request_seconds),
        ):
            if not 0 < seconds <= 3600:
                raise InvalidSetting(f"{name} is {seconds:g} s; write more than 0 and at most 3600")
