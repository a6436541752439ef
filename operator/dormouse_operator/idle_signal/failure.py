"""A Prometheus that could not be read, as a look at the fleet in which nothing is known of anybody."""

from dormouse_contract.idleness import IdleSignal, SignalState
from dormouse_prometheus.errors import PrometheusThrottled, PrometheusUnauthorized, PrometheusUnavailable


def failed(error: PrometheusUnavailable) -> IdleSignal:
    if isinstance(error, PrometheusThrottled):
        return IdleSignal(
            failure=str(error),
            failure_state=SignalState.PROMETHEUS_THROTTLED,
            retry_after_seconds=error.retry_after_seconds,
        )
    if isinstance(error, PrometheusUnauthorized):
        return IdleSignal(failure=str(error), failure_state=SignalState.PROMETHEUS_UNAUTHORIZED)
    return IdleSignal(failure=str(error))
