"""What all sides of Dormouse agree on: words, bodies, metric names, and the one function that decides."""

from .policy import Action, Decision, Mode, Observation, Policy, plan
from .residency import RequestOutcome, Residency, TransitionOutcome, Trigger
from .schedule import InvalidSchedule, Window

__all__ = [
    "Action",
    "Decision",
    "InvalidSchedule",
    "Mode",
    "Observation",
    "Policy",
    "RequestOutcome",
    "Residency",
    "TransitionOutcome",
    "Trigger",
    "Window",
    "plan",
]
