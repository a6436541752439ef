"""A Prometheus that could not be read, as a look at the fleet in which nothing is known of anybody."""

from dormouse_contract.idleness import IdleSignal, SignalState

from ..errors import SignalThrottled, SignalUnauthorized, SignalUnavailable


def failed(error: SignalUnavailable) -> IdleSignal:
    if isinstance(error, SignalThrottled):
        return IdleSignal(
            failure=str(error),
            failure_state=SignalState.PROMETHEUS_THROTTLED,
            retry_after_seconds=error.retry_after_seconds,
        )
    if isinstance(error, SignalUnauthorized):
        return IdleSignal(failure=str(error), failure_state=SignalState.PROMETHEUS_UNAUTHORIZED)
    return IdleSignal(failure=str(error))
