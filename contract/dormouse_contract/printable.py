"""Foreign text as one line that can be shown: in a log, a status, an Event, a page or a terminal.

Whoever runs a pod chooses the words of its answers, and a newline, an escape code or a bidi override among them would
forge a whole line of a log, or hide one. What can't be seen is shown as `�`. Pure.
"""

import re

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_MORE = "…"
# Letters and marks that take no ink, which Python counts as printable: fillers, joiners, variation selectors, blanks.
_WITHOUT_INK = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
_UNSEEN = re.compile(f"[{_WITHOUT_INK}]")


def printable(text: object, limit: int) -> str:
    """One line of at most `limit` characters, the last of which is `…` where something was cut off.

    Each character that is not seen (control and format characters, line ends of every kind, surrogates, private and
    unassigned ones) is one `�`, and each kind of space is a plain one. What it gives, it gives again unchanged.
    """
    shown = text if isinstance(text, str) else str(text)
    if len(shown) > limit:
        shown = shown[: max(0, limit - 1)] + _MORE[:limit]
    if shown.isascii() and shown.isprintable():
        return shown
    return _UNSEEN.sub(REPLACEMENT, "".join(map(_seen, shown)))


def printable_lines(text: str) -> str:
    """Text of our own making with foreign words in it, for a terminal: its lines stay, and the rest is as above."""
    return "\n".join(printable(line, len(line)) for line in text.split("\n"))


def cut_to_bytes(text: str, most: int) -> str:
    """As much of it as has at most so many bytes of UTF-8, which is what some fields of Kubernetes count."""
    return text.encode(errors="replace")[:most].decode(errors="ignore")


def _seen(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() and character not in _LINE_ENDS else REPLACEMENT


# Tab and the control characters among the spaces included: an honest sentence has none.
_LINE_ENDS = "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u2028\u2029"
