"""One kind of bad tenant: what it does, and how the operator must name it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .bad import BadTenant

Begin = Callable[[BadTenant], None]


@dataclass(frozen=True, slots=True)
class Named:
    """Any of `reasons` in a condition of the tenant's ManagedModels, any of `metrics` with its namespace.

    Empty: there is nothing to be named, since what was done is passed over.
    """

    reasons: frozenset[str] = frozenset()
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attack:
    """`begin` returns when all of it is there. `forged`: what it tries to write at the beginning of a log's line.

    seconds: how long the fleet is looked at from then on.
    """

    name: str
    begin: Begin
    named: Named
    forged: tuple[str, ...] = ()
    seconds: float = 8.0

    def __str__(self) -> str:
        return self.name
