"""What each alert says, for whoever is on call. When it fires is in `dormouse_contract.promql.alerts`.

`{{ … }}` is filled in by Prometheus. Each alert has a page in docs/runbooks.
"""

from dataclasses import dataclass

from dormouse_contract.defaults import WAKE_BUDGET_SECONDS
from dormouse_contract.promql import alerts


@dataclass(frozen=True, slots=True)
class Alert:
    """pending_for: so long the condition holds before anybody is called. runbook: the page's name."""

    name: str
    condition: str
    pending_for: str
    severity: str
    summary: str
    description: str
    runbook: str
    why: str = ""

    @property
    def runbook_url(self) -> str:
        return f"https://dormouse.dev/runbooks/{self.runbook}/"


ALERTS = (
    Alert(
        "DormouseWakeFailing",
        alerts.wake_failing(),
        "1m",
        "critical",
        "{{ $labels.model }} of {{ $labels.pod }} fails to wake: its requests get 503",
        '{{ $value | printf "%.0f" }} wakes of {{ $labels.model }} in {{ $labels.namespace }}/{{ $labels.pod }} failed '
        "in the last 10 minutes. Requests that waited for them were answered 503; the weights are where they were.",
        "wake-failing",
    ),
    Alert(
        "DormouseWakeSlow",
        alerts.wake_slow(),
        "5m",
        "warning",
        "Requests wait long for {{ $labels.model }} to wake",
        "One in twenty requests that woke {{ $labels.namespace }}/{{ $labels.model }} in the last hour waited "
        f"{{{{ $value | humanizeDuration }}}} or longer; the default budget is {WAKE_BUDGET_SECONDS:g} s, after which "
        "a request gets 503.",
        "wake-slow",
    ),
    Alert(
        "DormouseIdleSignalMissing",
        alerts.idle_signal_missing(),
        "15m",
        "warning",
        "ManagedModel {{ $labels.name }} has no idle signal, so it stays on the GPU",
        "For 15 minutes no fresh idle signal was known for a replica of ManagedModel {{ $labels.namespace }}/{{ "
        "$labels.name }}. Nothing is demoted meanwhile: this costs GPU memory, no request.",
        "idle-signal-missing",
    ),
    Alert(
        "DormouseStuckTransitioning",
        alerts.stuck_transitioning(),
        "1m",
        "critical",
        "{{ $labels.model }} of {{ $labels.pod }} has been moving for {{ $value | humanizeDuration }}",
        "A transition of {{ $labels.model }} in {{ $labels.namespace }}/{{ $labels.pod }} began {{ $value | "
        "humanizeDuration }} ago and has not ended. Requests for it wait, and get 503 when their budget is over.",
        "stuck-transitioning",
    ),
    Alert(
        "DormouseFlapping",
        alerts.flapping(),
        "10m",
        "warning",
        "{{ $labels.model }} of {{ $labels.pod }} falls asleep and wakes all the time",
        '{{ $labels.model }} in {{ $labels.namespace }}/{{ $labels.pod }} left the GPU {{ $value | printf "%.0f" }} '
        "times in the last hour for being idle. Each wake makes a request wait.",
        "flapping",
        "Offloads by the ladder only: with offloadAfterSeconds 0 (AfterTask) a model moves at every task, as asked.",
    ),
    Alert(
        "DormouseHostMemoryBudgetExceeded",
        alerts.host_memory_budget_exceeded(),
        "5m",
        "warning",
        "Weights in host RAM fill the budget of {{ $labels.pod }}",
        "The weights that {{ $labels.namespace }}/{{ $labels.pod }} keeps in host RAM take {{ $value | "
        "humanizePercentage }} of what the process may use. What does not fit is unloaded instead of offloaded, so its "
        "next wake reads from disk.",
        "host-memory-budget-exceeded",
    ),
    Alert(
        "DormouseReleaseNotVerified",
        alerts.release_not_verified(),
        "10m",
        "warning",
        "{{ $labels.model }} of {{ $labels.pod }} sleeps, and its GPU memory is not back",
        "{{ $value | humanize1024 }}B of the weights of {{ $labels.model }} in {{ $labels.namespace }}/{{ $labels.pod "
        "}} were not measurably given back by the last release. The figure of memory saved leaves them out.",
        "release-not-verified",
    ),
    Alert(
        "DormouseReconcileStalled",
        alerts.reconcile_stalled(),
        "2m",
        "critical",
        "No operator looks at the fleet",
        "No pass over the fleet was completed for more than 5 minutes, or no operator leads, or none is scraped. "
        "Models stay where they are and wake on demand: this costs GPU memory, no request.",
        "reconcile-stalled",
        "The leader's last pass, or the newest one where nobody leads; and no operator at all.",
    ),
    Alert(
        "DormouseCertificateExpiring",
        alerts.certificate_expiring(),
        "1h",
        "warning",
        "The operator's certificate ends in {{ $value | humanizeDuration }}",
        "{{ with $labels.pod }}The latest certificate that the sidecar of {{ $labels.namespace }}/{{ . }} trusts{{ "
        "else }}The operator's certificate{{ end }} ends in {{ $value | humanizeDuration }} and was not replaced in "
        "time. After that its orders are refused: models stay where they are and wake on demand.",
        "certificate-expiring",
    ),
)
