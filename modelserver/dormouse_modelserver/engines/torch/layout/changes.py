"""What of a model's parameters and buffers is other than it was loaded, by name and in words.

"The weights have changed" sends its reader on a search: it is one cache that a rotary embedding keeps as a buffer.
"""

from collections.abc import Iterable

from .fingerprint import Fingerprint

# An error names so many; a log line and a page have no room for hundreds.
_MOST_NAMED = 3
_ADDED, _REMOVED = " (added)", " (removed)"


def changes_between(loaded: Fingerprint, now: Fingerprint) -> tuple[str, ...]:
    """A line for each tensor that differs, as `'rope.cos' (shape [8] → [16])`; in the order of `now`, then what went.

    Tensors that share bytes change together.
    """
    changed = [
        f"{path!r} ({_how(loaded.get(path), value)})" for path, value in now.items() if loaded.get(path) != value
    ]
    return (*changed, *(removed(path) for path in loaded if path not in now))


def added(path: str) -> str:
    return repr(path) + _ADDED


def removed(path: str) -> str:
    return repr(path) + _REMOVED


def _how(before: tuple[object, ...] | None, after: tuple[object, ...]) -> str:
    if before is None:
        return "added"
    names = ("dtype", "place", "shape", "strides", "values")
    differs = {name: (old, new) for name, old, new in zip(names, before, after, strict=True) if old != new}
    if "dtype" in differs:
        return "{} → {}".format(*(str(dtype).removeprefix("torch.") for dtype in differs["dtype"]))
    if "shape" in differs:
        return "shape {} → {}".format(*(list(shape) for shape in differs["shape"]))  # type: ignore[call-overload]
    if "values" in differs:
        return "other values"
    return "strides" if "strides" in differs else "other bytes shared"


def merged(changes: Iterable[str]) -> tuple[str, ...]:
    """Once each; what one part of a model has lost and another got, under the same name, was replaced."""
    known = dict.fromkeys(changes)
    names = {line.removesuffix(_ADDED) for line in known if line.endswith(_ADDED)}
    names &= {line.removesuffix(_REMOVED) for line in known if line.endswith(_REMOVED)}
    others = (line for line in known if line.removesuffix(_ADDED).removesuffix(_REMOVED) not in names)
    return (*(f"{name} (replaced)" for name in sorted(names)), *others)


def in_short(changes: Iterable[str]) -> str:
    """The first of them, and how many more."""
    lines = tuple(changes)
    named, more = ", ".join(lines[:_MOST_NAMED]), len(lines) - _MOST_NAMED
    return f"{named} and {more} more" if more > 0 else named
