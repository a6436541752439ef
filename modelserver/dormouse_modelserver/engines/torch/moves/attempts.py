"""Steps that all have to be tried, whatever becomes of the others: giving memory back, bundle by bundle."""

from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")


class Attempts:
    """error: the first that a step raised; the later ones usually follow from it."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __call__(self, step: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            step(*args, **kwargs)
        except Exception as problem:
            self.error = self.error or problem
