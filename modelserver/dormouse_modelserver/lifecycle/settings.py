"""What a model's slot goes by: the server's own settings, and the policy that an operator lends over them."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from dormouse_contract import Policy
from dormouse_contract.defaults import (
    AFTER_TASK,
    MAX_WAITING,
    SERVER_MIN_RESIDENT_SECONDS,
    TURN_SECONDS,
    WAKE_BUDGET_SECONDS,
)
from dormouse_contract.wire import PolicyLoan

AfterTask = Literal["keep", "offload"]


@dataclass(frozen=True, slots=True)
class SlotSettings:
    """The server's own settings of one model. Seconds; None is never.

    after_task: `offload` takes the weights off the GPU as soon as the last use ends, whatever the timeout.
    max_waiting: so many uses may wait for a wake at a time; the next one is refused at once.
    turn_seconds: so long it waits for room behind a model that is never at rest, before that one is drained; inf is
        for ever.
    """

    idle_timeout_seconds: float | None = None
    unload_timeout_seconds: float | None = None
    after_task: AfterTask = AFTER_TASK
    min_resident_seconds: float = SERVER_MIN_RESIDENT_SECONDS
    wake_budget_seconds: float = WAKE_BUDGET_SECONDS
    max_waiting: int = MAX_WAITING
    turn_seconds: float = TURN_SECONDS

    def policy(self) -> Policy:
        """The same as a ladder; with `offload` after each task the first rung is 0."""
        return Policy(
            offload_after_seconds=0.0 if self.after_task == "offload" else self.idle_timeout_seconds,
            unload_after_seconds=self.unload_timeout_seconds,
            min_resident_seconds=self.min_resident_seconds,
            wake_budget_seconds=self.wake_budget_seconds,
        )


class Lending:
    """The policy lent by an operator, until it lapses or its owner withdraws it. Under the slot's lock.

    While a policy is lent, the server's own timeouts rest: the operator decides, and only what the loan
    names is decided here.
    """

    def __init__(self, own: SlotSettings) -> None:
        self.own = own
        self._loan: PolicyLoan | None = None
        self._lapses_at = -math.inf

    def lend(self, loan: PolicyLoan, now: float) -> None:
        if loan.valid_for_seconds > 0:
            self._loan, self._lapses_at = loan, now + loan.valid_for_seconds
        elif self._loan is not None and _owner(self._loan) == _owner(loan):
            self._loan = None

    def current(self, now: float) -> PolicyLoan | None:
        return self._loan if now < self._lapses_at else None

    def lapses_at(self, now: float) -> float | None:
        return self._lapses_at if self.current(now) is not None else None

    def settings(self, now: float) -> SlotSettings:
        loan = self.current(now)
        if loan is None:
            return self.own
        lent = replace(
            self.own, idle_timeout_seconds=loan.keep_alive_seconds, unload_timeout_seconds=None, after_task="keep"
        )
        if loan.min_resident_seconds is not None:
            lent = replace(lent, min_resident_seconds=loan.min_resident_seconds)
        if loan.wake_budget_seconds is not None:
            lent = replace(lent, wake_budget_seconds=loan.wake_budget_seconds)
        if loan.turn_seconds is not None:
            lent = replace(lent, turn_seconds=loan.turn_seconds)
        return lent


def _owner(loan: PolicyLoan) -> str | None:
    return loan.order.owner if loan.order is not None else None
