"""Names, types, labels and meanings of every metric: what the pod exports and the operator queries.

Exporters build their metrics from these entries and queries are made of their names, so that the two
sides can't drift apart. `namespace` and `pod` are added by the scrape.
"""

from dataclasses import dataclass
from enum import StrEnum


class MetricType(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `name` is the full name as Prometheus shows it (counters with `_total`)."""

    name: str
    type: MetricType
    labels: tuple[str, ...]
    help: str

    @property
    def of_operator(self) -> bool:
        """Whether the operator exports it, and no pod that it watches."""
        return self.name.startswith("dormouse_operator_")


def _gauge(name: str, labels: str, text: str) -> Metric:
    return Metric(name, MetricType.GAUGE, tuple(labels.split()), text)


def _counter(name: str, labels: str, text: str) -> Metric:
    return Metric(name, MetricType.COUNTER, tuple(labels.split()), text)


def _histogram(name: str, labels: str, text: str) -> Metric:
    return Metric(name, MetricType.HISTOGRAM, tuple(labels.split()), text)


# In the pod: one model.
RESIDENCY = _gauge(
    "dormouse_model_residency",
    "model residency",
    "1 for the tier where the weights are, 0 for the others; `residency` is `GPU`, `CPU` or `Unloaded`",
)
IN_FLIGHT = _gauge(
    "dormouse_model_in_flight_requests",
    "model",
    "Uses of the model that are running now",
)
HELD_REQUESTS = _gauge(
    "dormouse_held_requests",
    "model",
    "Requests that wait for the model to wake",
)
LAST_REQUEST_END = _gauge(
    "dormouse_model_last_request_end_timestamp_seconds",
    "model",
    "When the last request ended; the load's or start-up's time before the first",
)
IDLE_SINCE = _gauge(
    "dormouse_model_idle_since_timestamp_seconds",
    "model",
    "The latest of the last request's end, the last wake and the load; 0 while a request is in flight",
)
TRANSITION_START = _gauge(
    "dormouse_model_transition_start_timestamp_seconds",
    "model",
    "When the transition under way began; 0 when there is none",
)
LAST_TRANSITION = _gauge(
    "dormouse_model_last_transition_timestamp_seconds",
    "model",
    "When the last transition ended, failed ones included, refused ones not; 0 before the first",
)
OLDEST_USE = _gauge(
    "dormouse_model_oldest_use_timestamp_seconds",
    "model",
    "When the oldest use that still holds the model began; 0 while nobody holds it",
)
REQUESTS = _counter(
    "dormouse_model_requests_total",
    "model outcome",
    "Uses by how they ended: `ok`; `error` (the app raised); `timeout` (not awake within the budget); "
    "`rejected` (not let in: the wake failed)",
)
GPU_MEMORY = _gauge(
    "dormouse_model_gpu_memory_bytes",
    "model",
    "Bytes that the weights hold on the device now",
)
HOST_MEMORY = _gauge(
    "dormouse_model_host_memory_bytes",
    "model",
    "Bytes that the weights hold in host RAM now: the copy there stays while the model is on the GPU, and goes "
    "at an unload",
)
RELEASED = _gauge(
    "dormouse_model_gpu_memory_released_bytes",
    "model",
    "Device bytes measured as given back and still away; 0 on the GPU",
)
RELEASED_BYTE_SECONDS = _counter(
    "dormouse_gpu_memory_released_byte_seconds_total",
    "model",
    "The savings: released bytes integrated over time, in the process itself, so exact between scrapes",
)
RESIDUAL = _gauge(
    "dormouse_model_gpu_memory_residual_bytes",
    "model",
    "Bytes of the weights that the last release did not measurably give back",
)
RESTORE_ESTIMATE = _gauge(
    "dormouse_model_restore_estimate_seconds",
    "model",
    "Expected seconds to the GPU from where the weights are, from the last measured load and restore; NaN until "
    "measured",
)
TRANSITIONS = _counter(
    "dormouse_transitions_total",
    "model from to trigger outcome",
    "Transitions: `ok`; `failed` (rolled back); `refused` (in use, used a moment ago, or changed weights; "
    "nothing moved). `trigger` is `Demand`, `Idle`, `AfterTask`, `Manual`, `Schedule`, `Pressure`, `Startup` or "
    "`Shutdown`",
)
TRANSITION_DURATION = _histogram(
    "dormouse_transition_duration_seconds",
    "model from to",
    "Seconds that a transition took; those with outcome `ok` only",
)
WAKE_WAIT = _histogram(
    "dormouse_wake_wait_seconds",
    "model",
    "Seconds that a request waited for a wake; those that were let in only",
)
UNLOAD_REFUSED = _gauge(
    "dormouse_model_unload_refused",
    "model",
    "1 from when an unload was refused, since it would lose what the app changed in the weights, until the next use; "
    "else 0",
)
LOAD_FAILURES = _counter(
    "dormouse_model_load_failures_total",
    "model",
    "Loads that failed: `load` or the warm-up raised, or what it gave can't be moved. Without room is not among them",
)
GPU_INFO = _gauge(
    "dormouse_model_gpu_info",
    "model gpu_uuid device",
    "1; which device the model uses. A simulated one has its name (`sim`, `sim:4GiB`) in both; join to "
    "`DCGM_FI_DEV_FB_USED` on the UUID",
)

# In the pod: the process and its sidecar.
PROCESS_GPU_MEMORY = _gauge(
    "dormouse_process_gpu_memory_bytes",
    "gpu_uuid",
    "Device bytes of this process as the driver counts them (NVML); no series where it can't see the process",
)
HOST_MEMORY_BUDGET = _gauge(
    "dormouse_host_memory_budget_bytes",
    "",
    "Host RAM that this process may use: the cgroup's limit, or the machine's memory if that is less",
)
BACKGROUND_FAILURES = _counter(
    "dormouse_background_failures_total",
    "thread",
    "Threads of Dormouse's own that could not be started, or raised and went on. `/healthz` is 503 while one does not "
    "run or fails again and again",
)
BUILD_INFO = _gauge(
    "dormouse_build_info",
    "version",
    "1; the version. The model process', or the sidecar's while that does not answer",
)
PROCESS_UP = _gauge(
    "dormouse_model_process_up",
    "",
    "From the sidecar: 1 when the model process answered this scrape on its socket",
)
TRUST_EXPIRY = _gauge(
    "dormouse_sidecar_trust_expiry_timestamp_seconds",
    "",
    "From the sidecar: when the latest trusted certificate expires, also when that is past; 0 without one",
)

# In the operator.
MANAGED_MODELS = _gauge(
    "dormouse_operator_managed_models",
    "residency",
    "ManagedModels by `status.residency`: `GPU`, `CPU`, `Unloaded`, `Mixed`, `Unknown`",
)
CONDITION = _gauge(
    "dormouse_operator_managed_model_condition",
    "namespace name type status reason",
    "1 for each condition of a ManagedModel that is `False` or `Unknown`, with its reason; one that is `True` has no "
    "series",
)
RECONCILE_DURATION = _histogram(
    "dormouse_operator_reconcile_duration_seconds",
    "",
    "Seconds that one pass over the fleet took, the question to Prometheus included",
)
LAST_RECONCILE = _gauge(
    "dormouse_operator_last_reconcile_timestamp_seconds",
    "",
    "When the last pass was completed. The one to alert on: everything else may look well while nothing is done",
)
WATCH_LAST_ALIVE = _gauge(
    "dormouse_operator_watch_last_alive_timestamp_seconds",
    "resource namespace",
    "When the API server last showed `pods` or `managedmodels` to the watch; 0 for never. `namespace` is empty for the "
    "whole cluster. While a watch lives that is at most 20 s ago",
)
ORDERS = _counter(
    "dormouse_operator_orders_total",
    "desired outcome",
    "Orders sent to replicas, by what became of them",
)
OLDEST_WAITING_CALL = _gauge(
    "dormouse_operator_oldest_waiting_call_seconds",
    "namespace",
    "How long the oldest order, question or policy for a pod of the namespace waits for its turn; no series where "
    "nothing waits. A pod has two calls at once, a namespace a quarter of all",
)
VISIT_FAILURES = _counter(
    "dormouse_operator_visit_failures_total",
    "namespace name reason",
    "Looks at a ManagedModel that came to no end: `VisitFailed`, something about it can't be processed; "
    "`TooExpensive`, it takes more time than one may have. The others are looked at all the same",
)
PROMETHEUS_QUERIES = _counter(
    "dormouse_operator_prometheus_queries_total",
    "outcome",
    "Looks at the fleet through Prometheus (each is one query, and when there are replicas one more for each figure of "
    "the idle signal; more where an answer is too large): `ok`, `failed`",
)
API_REQUESTS = _counter(
    "dormouse_operator_api_requests_total",
    "verb outcome",
    "Requests to the API server, watches and the Lease apart: `ok`, `conflict` (409), `not_found` (404), "
    "`refused` (another 4xx), `unavailable` (no answer, 429 or 5xx)",
)
IDLE_SIGNAL_MISSING = _gauge(
    "dormouse_operator_idle_signal_missing",
    "namespace name",
    "1 when a replica of the ManagedModel has no fresh, valid idle signal; nothing demotes that replica",
)
IDLE_SIGNAL_FRESH_FOR = _gauge(
    "dormouse_operator_idle_signal_fresh_for_seconds",
    "",
    "How old a sample may be and still be believed: two scrape intervals and a tick. The console judges by it too",
)
IDLE_SIGNAL_TOO_LARGE = _gauge(
    "dormouse_operator_idle_signal_too_large",
    "namespace",
    "1 while the namespace has more series of the idle signal than one answer takes. Its replicas are asked for by the "
    "names of their pods; one that is too large by itself is unknown. Other namespaces are unharmed",
)
IGNORED_MODELS = _counter(
    "dormouse_operator_ignored_models_total",
    "namespace",
    "Models that a look at Prometheus or an answer of a pod has and that are passed over: no model can have their "
    "name, or the pod names it twice. Counted anew each time; `namespace` is empty where no ManagedModel is",
)
OBSERVED_RELEASABLE = _gauge(
    "dormouse_operator_observed_releasable_bytes",
    "namespace name",
    "With `mode: Observe`: device bytes of the replicas that it would take off the GPU now",
)
REPLICA_INFO = _gauge(
    "dormouse_operator_replica_info",
    "namespace name pod model",
    "1; which ManagedModel a model of a pod belongs to. One series per replica; joins what pods export to "
    "ManagedModels, also for the past",
)
CERTIFICATE_EXPIRY = _gauge(
    "dormouse_operator_certificate_expiry_timestamp_seconds",
    "",
    "When the certificate in use expires; 0 while there is none",
)
KEY_SOURCE_USABLE = _gauge(
    "dormouse_operator_key_source_usable",
    "",
    "0 while the source of the key has nothing that can be used; orders go on with the key as it was",
)
TRUST_NOT_PUBLISHED = _gauge(
    "dormouse_operator_trust_not_published",
    "namespace",
    "1 for each namespace that keeps the operator's certificate out, so that sidecars there may take no orders; no "
    "series for the others",
)
SHARED_MANAGED_MODELS = _gauge(
    "dormouse_operator_shared_managed_models",
    "operator",
    "ManagedModels of ours whose status another operator wrote within the last hour: two installations manage them. "
    "`operator` is its namespace and, with a Lease, the Lease's name; no series when there is none",
)
LEADER = _gauge(
    "dormouse_operator_leader",
    "",
    "1 while this operator acts, 0 while it stands by. Without `--lease on` always 1. Those that stand by "
    "export the other metrics too: multiply by this one before you sum",
)

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
