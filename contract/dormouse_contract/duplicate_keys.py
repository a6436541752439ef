"""JSON whose objects give a key twice: two readers may each take another one of the two values, so we take neither.

Our parser keeps the last one without a word. So the text is gone through once before it. Pure.
"""

import json

from .printable import printable

_MAX_KEY_CHARACTERS = 64


class _GivenTwice(Exception):
    """The key is its argument."""


def fault_of_keys(body: bytes | bytearray | str) -> str:
    """Why its keys can't be relied on, in words; empty where they can, and for a text that is no JSON at all."""
    try:
        # Numbers are not read: 10**5000 is refused by Python, and what they are is not the question.
        json.loads(body, object_pairs_hook=_unique, parse_int=str, parse_float=str, strict=False)
    except _GivenTwice as found:
        return f"the key {printable(found.args[0], _MAX_KEY_CHARACTERS)!r} is given twice"
    except RecursionError:
        return "it is nested too deep"
    except ValueError:
        return ""
    return ""


def _unique(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise _GivenTwice(key)
        seen.add(key)
