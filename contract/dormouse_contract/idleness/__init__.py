"""How idle a replica is, and whether that may be believed: decided here, from samples, for whoever asks.

Operator, console and `kubectl dormouse explain` get samples where they get them; what is made of them is the same.
"""

from .columns import Asked, Column
from .join import EXPORTED, Answer, Exported, Join, build, join_exported
from .reading import COLUMNS, Reading, ReplicaKey
from .signal import SKEW_SECONDS, IdleSignal, Seen, SignalState, fresh_for_seconds

__all__ = [
    "COLUMNS",
    "EXPORTED",
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
    "build",
    "fresh_for_seconds",
    "join_exported",
]
