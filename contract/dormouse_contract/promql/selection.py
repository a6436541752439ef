"""Which series are asked for: label matchers that a dashboard's variables, a caller's rights or nobody chose."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ..metrics import Metric


@dataclass(frozen=True, slots=True)
class Selection:
    """matchers: on each series. of_models: more of them, on series that carry a model's name."""

    matchers: tuple[str, ...] = ()
    of_models: tuple[str, ...] = ()

    def series(self, metric: Metric, *more: str, suffix: str = "") -> str:
        """The selector of a metric. `suffix` is `_bucket`, `_count` or `_sum`, of a histogram."""
        of_models = self.of_models if "model" in metric.labels else ()
        return f"{metric.name}{suffix}{_braces((*self.matchers, *of_models, *more))}"

    def named(self, metrics: Iterable[Metric], *more: str) -> str:
        """The selector of several metrics at once."""
        names = "|".join(metric.name for metric in metrics)
        return _braces((*self.matchers, *self.of_models, f'__name__=~"{names}"', *more))


EVERYTHING: Final = Selection()
REAL, SIMULATED = 'device!~"sim.*"', 'device=~"sim.*"'


def equals(label: str, value: str) -> str:
    """A matcher of this value, whatever it holds."""
    return f'{label}="{_escaped(value)}"'


def one_of(label: str, values: Iterable[str]) -> str:
    """A matcher of these values and no others, whatever they hold."""
    return f'{label}=~"{_any_of(values)}"'


def none_of(label: str, values: Iterable[str]) -> str:
    """A matcher of all other values."""
    return f'{label}!~"{_any_of(values)}"'


def _any_of(values: Iterable[str]) -> str:
    return "|".join(_escaped(re.escape(value)) for value in values)


def _braces(matchers: tuple[str, ...]) -> str:
    return f"{{{', '.join(matchers)}}}" if matchers else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
