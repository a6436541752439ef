"""What can go wrong in the operator, and whether trying again helps.

    OperatorError
    ├── KubeError            the API server said no, or nothing
    │   ├── KubeConflict     409: somebody else was first
    │   ├── KubeNotFound     404
    │   └── KubeUnavailable  no answer in time, or a 5xx or 429: try again
    │       └── NotLeading   we did not ask: only the leader writes
    └── SettingsError        a flag or variable makes no sense: correct it

What Prometheus does wrong is an error of its client (`dormouse_prometheus.errors`), which becomes the failure of an
idle signal in one place (`idle_signal.failure`). What a replica answers to an order is an outcome
(`orders.Outcome`) and not an error.
"""


class OperatorError(Exception):
    """`retryable` says whether the same again may work."""

    retryable = False


class KubeError(OperatorError):
    """The API server refused; `status` is the HTTP code, 0 without an answer."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class KubeConflict(KubeError):
    """Somebody else was first; read again before the next try."""


class KubeNotFound(KubeError):
    """The object, or its kind, is not there."""


class KubeUnavailable(KubeError):
    """Nothing is known about whether it was done; everything we send is safe to send again."""

    retryable = True


class NotLeading(KubeUnavailable):
    """Refused by ourselves while another operator leads, or may; nothing was sent."""


class SettingsError(OperatorError):
    """The text names the flag and what to write instead."""
