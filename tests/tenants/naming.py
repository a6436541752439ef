"""By which condition and which metric the operator must name each kind of bad: the one place for these names."""

from __future__ import annotations

from .attack import Named

_CONDITION = "dormouse_operator_managed_model_condition"
_MISSING = "dormouse_operator_idle_signal_missing"
_FAILED = "dormouse_operator_visit_failures_total"
_WAITING = "dormouse_operator_oldest_waiting_call_seconds"
_IGNORED = "dormouse_operator_ignored_models_total"
_TOO_LARGE = "dormouse_operator_idle_signal_too_large"


def _named(*reasons: str, by: tuple[str, ...]) -> Named:
    return Named(frozenset(reasons), (*by, _CONDITION))


DISBELIEVED = _named("IdleSignalInvalid", "VisitFailed", by=(_MISSING, _FAILED))
SILENT = _named("Unreachable", "Untrusted", by=(_WAITING,))
TOO_MANY = _named("TooManyModels", by=(_WAITING, _MISSING))
TOO_DEAR = _named("InvalidSchedule", "TooExpensive", by=(_FAILED,))
TOO_LARGE = _named("IdleSignalTooLarge", "TooManyModels", by=(_TOO_LARGE,))
NO_TRUST = _named("TrustNotPublished", by=())
PASSED_OVER = Named()
RIVALS = _named("Conflict", by=())
# What can be no model's name is passed over and counted.
DROPPED = Named(metrics=(_IGNORED,))
