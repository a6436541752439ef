"""What a rotation says: one line of the log and one Event for each step, about the operator's own Secret."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from dormouse_contract.timestamps import to_rfc3339_micro

from ..cluster.kube import Kube
from ..reporting.events import CONTROLLER, post
from .keyring import Keyring
from .rotation import Step
from .store import SECRET_NAME

SOURCE_UNUSABLE = "KeySourceUnusable"
_REASONS = {
    Step.REPLACE: "KeyReplaced",
    Step.PREPARE: "KeyRotationBegan",
    Step.STAMP: "KeyPublished",
    Step.SWITCH: "KeySwitched",
    Step.RETIRE: "KeyRotationEnded",
    Step.WITHDRAW: "NextKeyWithdrawn",
}
log = logging.getLogger(__name__)


class RotationNews:
    """`instance` is who reports."""

    def __init__(self, kube: Kube, namespace: str, *, clock: Callable[[], float], instance: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._clock = clock
        self._instance = instance

    async def stepped(self, step: Step, keyring: Keyring) -> None:
        """After the Secret says so."""
        note = _note(step, keyring)
        log.info("%s: %s", _REASONS[step], note)
        await self._tell(_REASONS[step], note, warning=False)

    async def source_unusable(self, fault: str, has_key: bool) -> None:
        rest = "orders go on with the key as it was" if has_key else "there is no key yet, so no order is taken"
        note = f"the new key can't be used: {fault}; {rest}"
        log.warning("%s: %s", SOURCE_UNUSABLE, note)
        await self._tell(SOURCE_UNUSABLE, note, warning=True)

    async def _tell(self, reason: str, note: str, *, warning: bool) -> None:
        now = self._clock()
        event: dict[str, Any] = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{SECRET_NAME}.{int(now * 1e6):x}", "namespace": self._namespace},
            "eventTime": to_rfc3339_micro(now),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance[:128],
            "action": "RotateKey",
            "reason": reason,
            "regarding": {"apiVersion": "v1", "kind": "Secret", "namespace": self._namespace, "name": SECRET_NAME},
            "note": note[:1000],
            "type": "Warning" if warning else "Normal",
        }
        await post(self._kube, event)


def _note(step: Step, keyring: Keyring) -> str:
    match step:
        case Step.REPLACE:
            return f"a new key, {_until(keyring)}; sidecars take no orders until its certificate has reached them"
        case Step.PREPARE:
            return "a new key is there; its certificate is being published beside the one in use"
        case Step.STAMP:
            return "the new certificate is in every ConfigMap; waiting for the sidecars to report it"
        case Step.SWITCH:
            return f"orders go out with the new key, {_until(keyring)}; the old one is gone"
        case Step.RETIRE:
            return "the old certificate is withdrawn; sidecars refuse it from now on"
        case _:
            return "the next key is dropped unused: it expired, or its source has another one by now"


def _until(keyring: Keyring) -> str:
    if keyring.current is None:
        return "without a certificate"
    return f"valid until {datetime.fromtimestamp(keyring.current.leaf.expires_at, UTC):%Y-%m-%d %H:%M} UTC"
