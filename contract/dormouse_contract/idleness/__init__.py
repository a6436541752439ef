"""How idle a replica is, and whether that may be believed: decided here, from samples, for whoever asks.

Operator, console and `kubectl dormouse explain` get samples where they get them; what is made of them is the same.
"""

from .columns import Asked, Column
from .join import EXPORTED, NOT_ONE_INSTANT, Answer, Exported, Join, at_same_instant, build, join_exported
from .reading import COLUMNS, Reading, ReplicaKey
from .signal import SKEW_SECONDS, IdleSignal, Seen, SignalState, fresh_for_seconds

__all__ = [
    "COLUMNS",
    "EXPORTED",
    "NOT_ONE_INSTANT",
    "SKEW_SECONDS",
    "Answer",
    "Asked",
    "Column",
    "Exported",
    "IdleSignal",
    "Join",
    "Reading",
    "ReplicaKey",
    "Seen",
    "SignalState",
    "at_same_instant",
    "build",
    "fresh_for_seconds",
    "join_exported",
]
