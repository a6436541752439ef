"""Addresses and ports of one town: of 127/8, so that several towns on one machine don't meet."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from dormouse_contract.ports import Port

from localcluster.ports import reserve_port


@dataclass(slots=True)
class Places:
    """The control port is free on the machine, and every pod's; metrics are where the operator looks for health."""

    control_port: int = field(default_factory=reserve_port)
    metrics_port: int = Port.SIDECAR
    _network: int = field(default_factory=lambda: secrets.randbelow(200) + 20)
    _taken: int = 0

    def next_ip(self) -> str:
        self._taken += 1
        return f"127.{self._network}.{self._taken >> 8 & 255}.{self._taken & 255}"
