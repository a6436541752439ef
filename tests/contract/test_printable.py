"""Foreign text becomes one line that can be shown, whatever it is."""

from __future__ import annotations

import unicodedata

import pytest
from dormouse_contract.printable import cut_to_bytes, printable, printable_lines
from hypothesis import given
from hypothesis import strategies as st

any_text = st.text(st.characters(codec=None, categories=None), max_size=80)
UNSEEN = {
    "a new line": "\n",
    "a carriage return": "\r",
    "a tab": "\t",
    "an escape": "\x1b",
    "a C1 control": "\x9b",
    "nothing": "\0",
    "a delete": "\x7f",
    "next line": "\x85",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "right-to-left override": "\u202e",
    "first strong isolate": "\u2068",
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "byte order mark": "\ufeff",
    "soft hyphen": "\u00ad",
    "a tag": "\U000e0041",
    "a variation selector": "\ufe0f",
    "a supplementary variation selector": "\U000e0100",
    "a Hangul filler": "\u3164",
    "a Braille blank": "\u2800",
    "half a surrogate pair": "\ud800",
    "private use": "\ue000",
    "no character": "\uffff",
}


@pytest.mark.parametrize("character", UNSEEN.values(), ids=UNSEEN.keys())
def test_what_can_not_be_seen_is_shown(character: str) -> None:
    assert printable(f"a{character}b", 10) == "a\ufffdb"


@pytest.mark.parametrize("text", ["idle 612 s", "größer → kleiner", "睡眠", "🟢 GPU", "e\u0301", "שלום"])
def test_plain_words_of_any_language_stay(text: str) -> None:
    assert printable(text, 40) == text


@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\u2009"])
def test_each_kind_of_space_is_a_plain_one(space: str) -> None:
    assert printable(f"a{space}b", 10) == "a b"


@given(any_text, st.integers(0, 40))
def test_any_text_is_one_line_that_can_be_sent_and_is_not_too_long(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert len(shown.splitlines()) <= 1
    shown.encode()
    assert not [each for each in shown if unicodedata.category(each) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")]
    assert printable(shown, limit) == shown


@given(st.text(max_size=20), st.integers(21, 40))
def test_what_is_cut_off_is_marked(text: str, extra: int) -> None:
    assert printable(text, 21) == printable(text, 21 + extra)
    assert printable(text + "x" * extra, 20).endswith("…")


@given(any_text)
def test_lines_of_ours_stay_lines(text: str) -> None:
    assert printable_lines(text).count("\n") == text.count("\n")
    assert printable_lines("a\tb\nc\x1b[31md") == "a\ufffdb\nc\ufffd[31md"


@given(any_text, st.integers(0, 60))
def test_a_text_is_cut_to_bytes_between_its_characters(text: str, most: int) -> None:
    cut = cut_to_bytes(text, most)
    assert len(cut.encode()) <= most
    assert len(cut_to_bytes("日" * 400, 1000).encode()) == 999
