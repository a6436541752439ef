"""How idle a replica is, and whether that may be believed: decided here, from samples, for whoever asks.

Operator, console and `kubectl dormouse explain` get samples where they get them; what is made of them is the same.
"""

from .join import Answer, Column, Join, build
from .signal import SKEW_SECONDS, IdleSignal, Reading, ReplicaKey, Seen, SignalState

__all__ = [
    "SKEW_SECONDS",
    "Answer",
    "Column",
    "IdleSignal",
    "Join",
    "Reading",
    "ReplicaKey",
    "Seen",
    "SignalState",
    "build",
]
