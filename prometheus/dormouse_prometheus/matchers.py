"""Label matchers as a person writes them, read and written anew, so that none leaves the braces of a query. Pure."""

import re
from collections.abc import Iterator

from .errors import PrometheusSettingsError

MOST_CHARACTERS = 1000
_EXAMPLE = """write label matchers as in PromQL, for example job="dormouse-system/dormouse-sidecars\""""
_MATCHER = re.compile(
    r"""\s*(?P<label>[a-zA-Z_][a-zA-Z0-9_]*)\s*(?P<sign>=~|!~|!=|=)\s*
    (?:"(?P<double>(?:[^"\\\n]|\\.)*)"|'(?P<single>(?:[^'\\\n]|\\.)*)'|`(?P<raw>[^`]*)`)\s*""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)")
_MEANT = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}


def label_matchers(flag: str, text: str) -> tuple[str, ...]:
    """One by one, each as `label="value"`. Braces around all of them are left out. Raises PrometheusSettingsError."""
    if len(text) > MOST_CHARACTERS:
        raise PrometheusSettingsError(f"{flag} has more than {MOST_CHARACTERS} characters; name fewer jobs")
    bare = text.strip()
    if bare.startswith("{") and bare.endswith("}"):
        bare = bare[1:-1]
    return tuple(_matchers(flag, bare))


def _matchers(flag: str, text: str) -> Iterator[str]:
    at, rest = 0, text.strip()
    while at < len(rest):
        found = _MATCHER.match(rest, at)
        if found is None:
            raise PrometheusSettingsError(f"{flag} is not understood from {rest[at:][:40]!r} on; {_EXAMPLE}")
        if found["label"] == "__name__":
            raise PrometheusSettingsError(f"{flag} names __name__, which is asked for already; {_EXAMPLE}")
        yield f'{found["label"]}{found["sign"]}"{_written(_value(flag, found))}"'
        at = found.end()
        if at < len(rest):
            if rest[at] != ",":
                raise PrometheusSettingsError(f"{flag} lacks a comma before {rest[at:][:40]!r}; {_EXAMPLE}")
            at += 1


def _value(flag: str, found: re.Match[str]) -> str:
    if found["raw"] is not None:
        return found["raw"]
    quoted = found["double"] if found["double"] is not None else found["single"]
    odd = next((each[1] for each in _ESCAPE.finditer(quoted) if each[1] not in _MEANT), None)
    if odd is not None:
        raise PrometheusSettingsError(
            f"{flag} has \\{odd} in a value; write \\\\ for a backslash, or `…` around the value"
        )
    return _ESCAPE.sub(lambda each: _MEANT[each[1]], quoted)


def _written(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
