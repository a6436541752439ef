"""Which series are asked for: label matchers that a dashboard's variables, a caller's rights or nobody chose."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ..metrics import Metric


@dataclass(frozen=True, slots=True)
class Selection:
    """matchers: on each series. of_models: more of them, on series that carry a model's name. of_pods: more of them, on
    series that pods export, and not the operator: which of the jobs are believed."""

    matchers: tuple[str, ...] = ()
    of_models: tuple[str, ...] = ()
    of_pods: tuple[str, ...] = ()

    def series(self, metric: Metric, *more: str, suffix: str = "") -> str:
        """The selector of a metric. `suffix` is `_bucket`, `_count` or `_sum`, of a histogram."""
        of_models = self.of_models if "model" in metric.labels else ()
        of_pods = () if metric.of_operator else self.of_pods
        return f"{metric.name}{suffix}{_braces((*self.matchers, *of_models, *of_pods, *more))}"

    def named(self, metrics: Iterable[Metric], *more: str) -> str:
        """The selector of several metrics of pods at once."""
        names = "|".join(metric.name for metric in metrics)
        return _braces((*self.matchers, *self.of_models, *self.of_pods, f'__name__=~"{names}"', *more))


# What means something in RE2. More must not be escaped: Prometheus looks values up in a set as long as each is plain,
# and a namespace's hyphen with a backslash before it is not.
_MEANINGFUL = re.compile(r"[\\.+*?()|\[\]{}^$]")
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
    values = list(values)
    if _MEANINGFUL.search("".join(values)):
        values = [_MEANINGFUL.sub(r"\\\g<0>", value) for value in values]
    return _escaped("|".join(values))


def _braces(matchers: tuple[str, ...]) -> str:
    return f"{{{', '.join(matchers)}}}" if matchers else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
