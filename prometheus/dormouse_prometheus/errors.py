"""What can go wrong on the way to Prometheus, and whether trying again helps.

    PrometheusError
    ├── PrometheusSettingsError     a flag or variable makes no sense: correct it
    └── PrometheusUnavailable       no answer that can be believed: try again
        ├── PrometheusTooMuchAsked  it, or we, can't take so much in one answer: ask for less at once
        │   └── PrometheusAnswerTooLarge  the answer has more bytes than were allowed
        ├── PrometheusUnauthorized  it does not let us in: correct the credentials
        └── PrometheusThrottled     it has too much to do: try again later

The text of each is a sentence for people, with what to do next.
"""


class PrometheusError(Exception):
    """`retryable` says whether the same again may work."""

    retryable = False


class PrometheusSettingsError(PrometheusError):
    """The text names the flag and what to write instead."""


class PrometheusUnavailable(PrometheusError):
    """Prometheus could not be read. The text does not change from one failure of a kind to the next."""

    retryable = True


class PrometheusTooMuchAsked(PrometheusUnavailable):
    """No answer in time, or more samples than Prometheus loads for one query: less at once may be answered."""


class PrometheusAnswerTooLarge(PrometheusTooMuchAsked):
    """Prometheus itself is well, and would have answered with more than we read."""


class PrometheusUnauthorized(PrometheusUnavailable):
    """Prometheus, or what stands before it, does not take our credentials; we ask again all the same."""


class PrometheusThrottled(PrometheusUnavailable):
    """Ask again no sooner than after `retry_after_seconds`."""

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
