"""Lets the models of a process say where they are: their mentions of a device, while they are on it."""

import threading
from dataclasses import dataclass, field
from typing import Any

import torch

from .devices import Mention, find_mentions, is_cpu
from .inventory import Inventory


@dataclass(slots=True)
class SaidDevices:
    """Thread-safe. What several models share names the device while any of them is there.

    What the user wrote while a model was awake is theirs, and not touched again until the model is unloaded.
    """

    _lock: threading.Lock = field(default_factory=threading.Lock)
    # By place: the mention as it was, what was written there, and which models it was written for (by id).
    _said: dict[tuple[int, Any], tuple[Mention, object, set[int]]] = field(default_factory=dict)
    # By place: whose model, and the owner, whose id could come again.
    _theirs: dict[tuple[int, Any], tuple[int, Any]] = field(default_factory=dict)

    def say(self, holder: object, model: object, inventory: Inventory, device: torch.device) -> tuple[str, ...]:
        """The model is on `device` from now on; gives the paths of what says so."""
        if device.type == "cpu":
            return ()
        mentions = find_mentions(model, inventory)
        with self._lock:
            for mention in mentions:
                if mention.place in self._said:
                    self._said[mention.place][2].add(id(holder))
                elif is_cpu(mention.value) and mention.place not in self._theirs and _written(mention, device):
                    self._said[mention.place] = (mention, mention.now, {id(holder)})
            return tuple(mention.path for mention in mentions if mention.place in self._said)

    def unsay(self, holder: object, *, for_good: bool = False) -> None:
        """The model leaves the device; for_good: it is unloaded."""
        with self._lock:
            for place, (mention, written, holders) in tuple(self._said.items()):
                holders.discard(id(holder))
                if holders:
                    continue
                del self._said[place]
                now = mention.now
                if type(now) is type(written) and now == written:
                    mention.write(mention.value)
                elif now is not None:
                    self._theirs[place] = (id(holder), mention.owner)
            if for_good:
                self._theirs = {place: kept for place, kept in self._theirs.items() if kept[0] != id(holder)}


def _written(mention: Mention, device: torch.device) -> bool:
    """False where nothing can be written: in a tuple, or in an object of C++."""
    if isinstance(mention.owner, tuple | set | frozenset):
        return False
    try:
        mention.write(mention.naming(device))
    except (AttributeError, TypeError):
        return False
    return True
