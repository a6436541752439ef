"""The conditions of a ManagedModel, each a ladder of reasons: the first that applies is shown.

`Ready`, every replica is at its desired residency or above it by demand:

    False    VisitFailed           something about it can't be processed; the message says what
    False    TooExpensive          to look at it takes more time than one ManagedModel may have
    False    Conflict              another ManagedModel manages (some of) these models; the message names it
    False    InvalidSpec           a part of the spec is not understood; the message says what holds meanwhile
    False    InvalidSchedule       a window makes no sense; the rest of the policy holds
    False    NoReplicas            no living pod has the labels
    False    NoSidecar             a selected pod has no sidecar; the message names it
    False    TooManyModels         a pod has more models than are managed
    False    UnknownModel          a pod has no such model; the message says which it has
    False    TrustNotPublished     the namespace keeps the operator's certificate out; the message says how
    False    Untrusted             a sidecar lives but does not take our certificate (yet)
    False    Unreachable           a pod does not answer
    False    VersionSkew           a sidecar does not know what we send it
    True     Paused                nothing is wanted of the replicas
    Unknown  NotYetContacted       a pod was not asked yet
    Unknown  PrometheusUnauthorized  Prometheus does not let the operator in
    Unknown  PrometheusThrottled   Prometheus asks to come later
    Unknown  PrometheusUnavailable, IdleSignalInvalid, IdleSignalTooLarge, IdleSignalStale, PrometheusIncomplete,
             IdleSignalMissing
    False    CannotNow             a replica can't wake or sleep at the moment; the message says why
    False    Observing             it would order something
    False    Transitioning         an order is on its way
    True     AboveByDemand         requests hold it above what is desired
    True     ChangedWeights        unloading would lose weights that the app changed
    True     Observing, AsDesired

`IdleSignalAvailable`: fresh figures are had of every replica, from Prometheus (`IdleSignalFresh`) or, while it can't
be had, from the sidecars themselves (`IdleSignalDirect`). `ReplicasReachable`: each took our last
call. Both are `Unknown` until there was something to judge.

Messages hold no figure that changes by the second, since each change would be a write.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from dormouse_contract import Mode
from dormouse_contract.idleness import SignalState
from dormouse_contract.managed_model import (
    IDLE_SIGNAL_AVAILABLE,
    READY,
    REPLICAS_REACHABLE,
    Condition,
    SpecProblem,
    SpecProblemReason,
    Truth,
)
from dormouse_contract.printable import printable

from ..orders import Outcome
from ..view import MAX_MODELS_PER_POD, Contact, ReplicaView, View

# As many of a spec's problems as a condition has room for.
MOST_PROBLEMS = 3
MOST_CHARACTERS_OF_A_FAULT = 256
# Clean where it came in; what a user's spec and the API server have of it is cleaned here.
MAX_MESSAGE_CHARACTERS = 1024

VISIT_FAILED = "VisitFailed"
TOO_EXPENSIVE = "TooExpensive"
CONFLICT = "Conflict"
INVALID_SPEC = SpecProblemReason.INVALID_SPEC
INVALID_SCHEDULE = SpecProblemReason.INVALID_SCHEDULE
NO_REPLICAS = "NoReplicas"
NO_SIDECAR = "NoSidecar"
TOO_MANY_MODELS = "TooManyModels"
UNKNOWN_MODEL = "UnknownModel"
TRUST_NOT_PUBLISHED = "TrustNotPublished"
UNTRUSTED = "Untrusted"
UNREACHABLE = "Unreachable"
VERSION_SKEW = "VersionSkew"
PAUSED = "Paused"
CHANGED_WEIGHTS = "ChangedWeights"
CANNOT_NOW = "CannotNow"
OBSERVING = "Observing"
TRANSITIONING = "Transitioning"
ABOVE_BY_DEMAND = "AboveByDemand"
AS_DESIRED = "AsDesired"
NOT_YET_CONTACTED = "NotYetContacted"
REACHABLE = "Reachable"

_Verdict = tuple[Truth, str, str]
_WORST_SIGNAL_FIRST = (
    SignalState.PROMETHEUS_UNAUTHORIZED,
    SignalState.PROMETHEUS_THROTTLED,
    SignalState.PROMETHEUS_UNAVAILABLE,
    SignalState.INVALID,
    SignalState.TOO_LARGE,
    SignalState.STALE,
    SignalState.PROMETHEUS_INCOMPLETE,
    SignalState.MISSING,
)


def conditions(view: View) -> tuple[Condition, ...]:
    """All three, without the time of their last change, which needs the previous ones."""
    verdicts = (
        (READY, _ready(view)),
        (IDLE_SIGNAL_AVAILABLE, _signal(view)),
        (REPLICAS_REACHABLE, _reachable(view)),
    )
    generation = view.owner.generation
    return tuple(
        Condition(kind, truth, reason, printable(message, MAX_MESSAGE_CHARACTERS), generation)
        for kind, (truth, reason, message) in verdicts
    )


def failure(reason: str, why: str, generation: int) -> Condition:
    """`Ready` of a ManagedModel that could not be looked at, for VISIT_FAILED and TOO_EXPENSIVE."""
    if reason == TOO_EXPENSIVE:
        what_to_do = "Select fewer pods with it, or shorten its schedule."
    else:
        what_to_do = "See the operator's log, and report it."
    message = (
        f"{printable(why, MOST_CHARACTERS_OF_A_FAULT)} Its models stay where they are and still wake; other "
        f"ManagedModels are unharmed. {what_to_do}"
    )
    return Condition(READY, "False", reason, printable(message, MAX_MESSAGE_CHARACTERS), generation)


def _ready(view: View) -> _Verdict:
    obstacle = _obstacle(view)
    if obstacle is not None:
        return ("False", *obstacle)
    if view.owner.policy.mode is Mode.PAUSED:
        return "True", PAUSED, "Nothing is ordered while mode is Paused; requests still wake the model."
    if not view.replicas:
        return _without_models(view)
    return _unsettled(view) or _settled(view)


def _obstacle(view: View) -> tuple[str, str] | None:
    owner = view.owner
    if view.lost:
        models = sorted({lost.model or "the whole pod" for lost in view.lost})
        winners = sorted({lost.winner for lost in view.lost})
        return (
            CONFLICT,
            f"{_some(models)} is managed by ManagedModel {_some(winners)}, which takes precedence; nothing is "
            "ordered for it from here. Delete one of the two, or give them different models.",
        )
    if owner.problems:
        return owner.problems[0].reason, _misunderstood(owner.problems)
    if not view.selected:
        labels = ",".join(f"{key}={value}" for key, value in owner.selector)
        return NO_REPLICAS, f"No running pod in {owner.namespace} has the labels {labels}."
    if view.without_sidecar:
        names = _some(sorted(pod.name for pod in view.without_sidecar))
        return NO_SIDECAR, f"Pod {names} has no dormouse-sidecar, so it takes no orders. Add it to the pod."
    if view.crowded:
        names = _some(sorted(pod.name for pod in view.crowded))
        return (
            TOO_MANY_MODELS,
            f"Pod {names} has more than {MAX_MODELS_PER_POD} models: the first of them by name are managed, the others "
            "are left alone. Run fewer in one pod, or name those to manage in spec.model.",
        )
    if view.missing:
        first = view.missing[0]
        has = _some(sorted(first.contact.models or ())) or "none"
        return (
            UNKNOWN_MODEL,
            f"Pod {_pods(view.missing)} has no model {first.model}; it has: {has}. "
            "Correct spec.model by creating the ManagedModel anew, or register the model in the server.",
        )
    if view.trust_problem:
        return (
            TRUST_NOT_PUBLISHED,
            f"The operator's certificate can't be published in namespace {owner.namespace}: {view.trust_problem}. "
            "Sidecars that don't have it take no orders; requests are unharmed. Delete the ConfigMap "
            "dormouse-operator-trust there, or what refuses it; it is written within a minute after that.",
        )
    return _unreached(view) or _skewed(view)


def _misunderstood(problems: Sequence[SpecProblem]) -> str:
    """Each problem, as far as there is room; `kubectl dormouse explain` shows them all."""
    shown = problems[:MOST_PROBLEMS]
    left = len(problems) - len(shown)
    more = f" And {left} more, which kubectl dormouse explain shows." if left else ""
    return f"{' '.join(problem.message for problem in shown)}{more} The rest of the spec holds."


def _skewed(view: View) -> tuple[str, str] | None:
    skewed = [each for each in view.replicas if each.misunderstood]
    if not skewed:
        return None
    return (
        VERSION_SKEW,
        f"The sidecar of {_pods(skewed)} does not know what this operator sends ({skewed[0].misunderstood}); "
        "requests are unharmed. Bring operator and sidecar to the same version; one minor apart is supported.",
    )


def _unreached(view: View) -> tuple[str, str] | None:
    untrusted = [pod.name for pod, contact in view.contacts if contact.outcome is Outcome.UNTRUSTED]
    if untrusted:
        return (
            UNTRUSTED,
            f"The sidecar of {_some(untrusted)} is alive and does not take the operator's certificate; it can "
            "take a minute until the ConfigMap dormouse-operator-trust reaches it. See that it is mounted.",
        )
    unreachable = [pod.name for pod, contact in view.contacts if _is_unreachable(contact)]
    if unreachable:
        return (
            UNREACHABLE,
            f"Pod {_some(unreachable)} does not answer on its control port; requests are unharmed. "
            "See whether it runs and whether a NetworkPolicy lets the operator in.",
        )
    return None


def _without_models(view: View) -> _Verdict:
    if any(contact.models is None for _, contact in view.contacts):
        return "Unknown", NOT_YET_CONTACTED, "The pods were not asked for their models yet."
    return "False", UNKNOWN_MODEL, "The pods have registered no model. Register one in the server."


def _unsettled(view: View) -> _Verdict | None:
    unknown = [each for each in view.replicas if each.residency is None]
    if unknown:
        return "Unknown", *_signal(view)[1:]
    moving = [each for each in view.replicas if each.moves and not each.held_by_demand]
    stuck = [each for each in moving if each.memory.refusal is Outcome.CANNOT_NOW]
    if stuck:
        return "False", CANNOT_NOW, f"{_pods(stuck)}: {stuck[0].memory.refusal_detail}"
    if moving and view.owner.policy.mode is Mode.OBSERVE:
        return "False", OBSERVING, f"Would move {_targets(moving)}; nothing is sent while mode is Observe."
    if moving:
        return "False", TRANSITIONING, f"Moving {_targets(moving)}."
    return None


def _settled(view: View) -> _Verdict:
    above = [each for each in view.replicas if each.above_desired]
    if above:
        return "True", ABOVE_BY_DEMAND, f"Requests hold {_pods(above)} above its desired residency."
    changed = [each for each in view.replicas if each.seen.observation.unload_refused]
    if changed:
        return (
            "True",
            CHANGED_WEIGHTS,
            f"{_pods(changed)} has changed weights that unloading would lose, so they stay in host RAM.",
        )
    if view.owner.policy.mode is Mode.OBSERVE:
        return "True", OBSERVING, "Nothing would be ordered now."
    return "True", AS_DESIRED, "Every replica is where it should be."


def _signal(view: View) -> _Verdict:
    for state in _WORST_SIGNAL_FIRST:
        concerned = [each for each in view.present if each.seen.state is state]
        if concerned:
            why = concerned[0].seen.observation.unknown_because
            more = f" ({len(concerned)} replicas)" if len(concerned) > 1 else ""
            return "False", state, f"{why}{more}. Nothing is demoted meanwhile."
    if not view.present:
        return "Unknown", NO_REPLICAS, "There is no replica of which a signal could be had."
    if any(each.seen.state is SignalState.DIRECT for each in view.present):
        return (
            "True",
            SignalState.DIRECT,
            "The sidecars are read directly, since Prometheus can't be had; see the operator's log for why.",
        )
    return "True", SignalState.FRESH, "Prometheus has fresh figures of every replica."


def _reachable(view: View) -> _Verdict:
    if not view.selected:
        return "Unknown", NO_REPLICAS, "There is no replica to reach."
    if view.without_sidecar:
        names = _some(sorted(pod.name for pod in view.without_sidecar))
        return "False", NO_SIDECAR, f"Pod {names} has no dormouse-sidecar."
    unreached = _unreached(view)
    if unreached is not None:
        return ("False", *unreached)
    if any(contact.outcome is None for _, contact in view.contacts):
        return "Unknown", NOT_YET_CONTACTED, "Not every replica was called yet."
    return "True", REACHABLE, "Every replica takes orders."


def _is_unreachable(contact: Contact) -> bool:
    outcome = contact.outcome
    return outcome is not None and outcome is not Outcome.UNTRUSTED and not outcome.reached


def _targets(replicas: Sequence[ReplicaView]) -> str:
    counts = Counter(str(each.decision.desired) for each in replicas)
    return ", ".join(f"{count} to {to}" for to, count in sorted(counts.items()))


def _pods(replicas: Iterable[ReplicaView]) -> str:
    return _some(sorted({each.pod.name for each in replicas}))


def _some(names: Sequence[str]) -> str:
    """The first few of a list that may be long."""
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
