"""Where the idle signal comes from at this moment: Prometheus, or the sidecars when it was away for long.

Prometheus is asked on every look, however long it was away, so that the first good answer ends all of this;
only when it asked for a rest (429) it gets it.
"""

import logging
from collections.abc import Awaitable, Callable, Set
from dataclasses import replace

from dormouse_contract.idleness import IdleSignal

# The words of a failure are in the status of each ManagedModel, so they are not changed with each new error.
SAME_WORDS_SECONDS = 300.0
# One that comes and goes is in the log so often at most.
LOGGED_AGAIN_SECONDS = 60.0
log = logging.getLogger(__name__)


class SignalSource:
    """`ask_directly` reads the sidecars; it is used after `direct_after_seconds` without Prometheus (None: never)."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[IdleSignal]],
        ask_directly: Callable[[], Awaitable[IdleSignal]],
        *,
        direct_after_seconds: float | None,
        monotonic: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._ask_directly = ask_directly
        self._direct_after_seconds = direct_after_seconds
        self._monotonic = monotonic
        self._failure = IdleSignal()
        self._worded_at = self._failing_since = 0.0
        self._ask_again_at = float("-inf")
        self._evaluated_at = 0.0
        self._direct = False
        self._too_large: Set[str] = frozenset()
        self._logged_at = float("-inf")

    async def read(self) -> IdleSignal:
        signal = self._failure
        if self._monotonic() >= self._ask_again_at:
            signal = self._not_of_before(await self._ask())
        if not signal.failure:
            if self._failure.failure:
                log.info("Prometheus answers again.")
            self._failure, self._direct = IdleSignal(), False
            self._log_too_large(signal.too_large)
            return signal
        self._fail(signal)
        if self._direct_after_seconds is None or self._away_seconds < self._direct_after_seconds:
            return self._failure
        if not self._direct:
            log.warning("Prometheus is away for %.0f s: the sidecars are read directly.", self._away_seconds)
            self._direct = True
        return replace(await self._ask_directly(), direct_because=self._failure.failure)

    @property
    def _away_seconds(self) -> float:
        return self._monotonic() - self._failing_since

    def _not_of_before(self, signal: IdleSignal) -> IdleSignal:
        """The same instant twice is an answer from a cache: its ages are those of then."""
        if signal.failure or not signal.readings:
            return signal
        before, self._evaluated_at = self._evaluated_at, signal.evaluated_at
        if signal.evaluated_at != before:
            return signal
        return IdleSignal(
            failure="Prometheus gave an answer of before; is there a cache before it, or does its clock stand still?"
        )

    def _log_too_large(self, namespaces: Set[str]) -> None:
        now = self._monotonic()
        new = sorted(namespaces - self._too_large)
        if new and now - self._logged_at < LOGGED_AGAIN_SECONDS:
            return
        self._too_large = namespaces
        if new:
            self._logged_at = now
            log.warning(
                "More series of the idle signal than an answer takes, in namespace %s%s: its replicas are asked for by "
                "pod, and other namespaces are unharmed. Limit the scrape of its pods.",
                ", ".join(new[:3]),
                f" and {len(new) - 3} more" if len(new) > 3 else "",
            )

    def _fail(self, signal: IdleSignal) -> None:
        now = self._monotonic()
        if signal is self._failure:
            return
        if not self._failure.failure:
            self._failing_since = now
        if signal.retry_after_seconds is not None:
            self._ask_again_at = now + signal.retry_after_seconds
        same_kind = signal.failure_state is self._failure.failure_state
        if self._failure.failure and same_kind and now - self._worded_at < SAME_WORDS_SECONDS:
            return
        log.warning("%s. Nothing is demoted for want of an idle signal.", signal.failure)
        self._failure, self._worded_at = signal, now
