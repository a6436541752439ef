"""What became of a piece of work, and with it when the queue takes the same again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """The same is taken again at once."""


@dataclass(frozen=True, slots=True)
class Retry:
    """It failed: the same is taken again after a back-off, which grows with each failure in a row."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The object that the work is for did not answer: all work for it backs off, and what waits is dropped."""


@dataclass(frozen=True, slots=True)
class RequeueAfter:
    """There is no need for the same, or no use in it, for so many seconds. It does not count as a failure."""

    seconds: float


Result = Done | Retry | Unanswered | RequeueAfter
