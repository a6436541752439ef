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


def _gauge(name: str, labels: str, text: str) -> Metric:
    return Metric(name, MetricType.GAUGE, tuple(labels.split()), text)


def _counter(name: str, labels: str, text: str) -> Metric:
    return Metric(name, MetricType.COUNTER, tuple(labels.split()), text)


def _histogram(name: str, labels: str, text: str) -> Metric:
    return Metric(name, MetricType.HISTOGRAM, tuple(labels.split()), text)


# In the pod: one model.
RESIDENCY = _gauge(
    "dormouse_model_residency", "model residency", "1 for the tier where the weights are, 0 for the others"
)
IN_FLIGHT = _gauge("dormouse_model_in_flight_requests", "model", "Uses of the model that are running now")
HELD_REQUESTS = _gauge("dormouse_held_requests", "model", "Requests that wait for the model to wake")
LAST_REQUEST_END = _gauge(
    "dormouse_model_last_request_end_timestamp_seconds",
    "model",
    "When the last request ended (load or start-up time before the first)",
)
IDLE_SINCE = _gauge(
    "dormouse_model_idle_since_timestamp_seconds",
    "model",
    "The latest of last request's end, last wake and load; 0 while a request is in flight",
)
TRANSITION_START = _gauge(
    "dormouse_model_transition_start_timestamp_seconds",
    "model",
    "When the transition under way began; 0 when there is none",
)
LAST_TRANSITION = _gauge(
    "dormouse_model_last_transition_timestamp_seconds",
    "model",
    "When the last transition ended; 0 before the first",
)
REQUESTS = _counter(
    "dormouse_model_requests_total",
    "model outcome",
    "Uses of the model by outcome (ok, error, timeout, rejected)",
)
GPU_MEMORY = _gauge("dormouse_model_gpu_memory_bytes", "model", "Bytes that the model's weights hold on the device now")
HOST_MEMORY = _gauge("dormouse_model_host_memory_bytes", "model", "Bytes that the model's weights hold in host RAM now")
RELEASED = _gauge(
    "dormouse_model_gpu_memory_released_bytes",
    "model",
    "Device bytes measured as given back and still away; 0 on the GPU",
)
RELEASED_BYTE_SECONDS = _counter(
    "dormouse_gpu_memory_released_byte_seconds_total",
    "model",
    "Measured released device bytes, integrated over time",
)
RESIDUAL = _gauge(
    "dormouse_model_gpu_memory_residual_bytes",
    "model",
    "Bytes of the weights that the last release did not measurably give back",
)
RESTORE_ESTIMATE = _gauge(
    "dormouse_model_restore_estimate_seconds",
    "model",
    "Expected seconds to the GPU from where the weights are; NaN until measured",
)
TRANSITIONS = _counter(
    "dormouse_transitions_total",
    "model from to trigger outcome",
    "Transitions by outcome (ok, failed, refused)",
)
TRANSITION_DURATION = _histogram(
    "dormouse_transition_duration_seconds", "model from to", "Seconds that a transition took"
)
WAKE_WAIT = _histogram("dormouse_wake_wait_seconds", "model", "Seconds that a request waited for the model to wake")
GPU_INFO = _gauge(
    "dormouse_model_gpu_info",
    "model gpu_uuid device",
    "1; which device the model uses (sim is a simulated one)",
)

# In the pod: the process and its sidecar.
PROCESS_GPU_MEMORY = _gauge(
    "dormouse_process_gpu_memory_bytes", "gpu_uuid", "Device bytes of this process as the driver counts them"
)
HOST_MEMORY_BUDGET = _gauge(
    "dormouse_host_memory_budget_bytes",
    "",
    "Host RAM that this process may use (cgroup limit, or the machine's)",
)
BUILD_INFO = _gauge("dormouse_build_info", "version", "1; the version of Dormouse")
PROCESS_UP = _gauge(
    "dormouse_model_process_up", "", "1 when the model process answers on its socket (from the sidecar)"
)
TRUST_EXPIRY = _gauge(
    "dormouse_sidecar_trust_expiry_timestamp_seconds",
    "",
    "When the latest trusted operator certificate expires; 0 without one",
)

# In the operator.
MANAGED_MODELS = _gauge("dormouse_operator_managed_models", "residency", "ManagedModels by residency")
RECONCILE_DURATION = _histogram(
    "dormouse_operator_reconcile_duration_seconds", "", "Seconds that one pass over the fleet took"
)
LAST_RECONCILE = _gauge(
    "dormouse_operator_last_reconcile_timestamp_seconds",
    "",
    "When the last pass over the fleet was completed",
)
ORDERS = _counter("dormouse_operator_orders_total", "desired outcome", "Orders sent to replicas by outcome")
PROMETHEUS_QUERIES = _counter(
    "dormouse_operator_prometheus_queries_total", "outcome", "Queries to Prometheus by outcome"
)
API_REQUESTS = _counter(
    "dormouse_operator_api_requests_total",
    "verb outcome",
    "Requests to the API server by HTTP verb and outcome (ok, conflict, not_found, refused, unavailable); no watches",
)
IDLE_SIGNAL_MISSING = _gauge(
    "dormouse_operator_idle_signal_missing",
    "namespace name",
    "1 when no fresh idle signal is known for a replica of the ManagedModel",
)
OBSERVED_RELEASABLE = _gauge(
    "dormouse_operator_observed_releasable_bytes",
    "namespace name",
    "Device bytes that Observe mode would have given back",
)
REPLICA_INFO = _gauge(
    "dormouse_operator_replica_info",
    "namespace name pod model",
    "1; which ManagedModel a model of a pod belongs to",
)
CERTIFICATE_EXPIRY = _gauge(
    "dormouse_operator_certificate_expiry_timestamp_seconds", "", "When the operator's certificate expires"
)
KEY_SOURCE_USABLE = _gauge(
    "dormouse_operator_key_source_usable", "", "1 while the operator could use what the source of its key has, else 0"
)
LEADER = _gauge("dormouse_operator_leader", "", "1 while this operator acts, 0 while it stands by")

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
