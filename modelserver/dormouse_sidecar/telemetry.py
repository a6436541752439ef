"""The sidecar's own metrics, beside those of the model process."""

from importlib.metadata import version

from dormouse_contract import metrics
from prometheus_client import CollectorRegistry, Gauge, generate_latest

METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Telemetry:
    """What the sidecar knows. `trust_expiry` is Unix seconds, 0 without a trusted certificate."""

    def __init__(self) -> None:
        self.trust_expiry = 0.0

    def exposition(self, model_process: bytes | None) -> bytes:
        """The text for Prometheus. `model_process` is what that exports; None when it does not answer.

        Its build info is exported only in its stead: one pod has one `dormouse_build_info`.
        """
        registry = CollectorRegistry()
        _gauge(registry, metrics.PROCESS_UP).set(model_process is not None)
        _gauge(registry, metrics.TRUST_EXPIRY).set(self.trust_expiry)
        if model_process is None:
            _gauge(registry, metrics.BUILD_INFO).labels(version("dormouse")).set(1)
        theirs = model_process or b""
        if theirs and not theirs.endswith(b"\n"):
            theirs += b"\n"
        return theirs + generate_latest(registry)


def _gauge(registry: CollectorRegistry, metric: metrics.Metric) -> Gauge:
    return Gauge(metric.name, metric.help, metric.labels, registry=registry)
