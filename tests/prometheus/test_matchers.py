"""`--prometheus-selector`: what a person writes is understood or refused, and never leaves the braces of a query."""

from __future__ import annotations

import argparse
import re

import pytest
from dormouse_contract.promql import idle_signal
from dormouse_prometheus.errors import PrometheusSettingsError
from dormouse_prometheus.flags import add_prometheus_flags, prometheus_settings
from dormouse_prometheus.matchers import MOST_CHARACTERS, label_matchers
from hypothesis import example, given
from hypothesis import strategies as st

FLAG = "--prometheus-selector"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("  {} ", ()),
        ('job="a/b"', ('job="a/b"',)),
        ('{job="a/b"}', ('job="a/b"',)),
        ("job='a/b', cluster =~ `eu-\\d+`", ('job="a/b"', 'cluster=~"eu-\\\\d+"')),
        ('job!="x",cluster!~"y",', ('job!="x"', 'cluster!~"y"')),
        ('job="a\\"} or up{b=\\"c"', ('job="a\\"} or up{b=\\"c"',)),
        ("job='a\"b'", ('job="a\\"b"',)),
        ('job="a,b={}"', ('job="a,b={}"',)),
        ('job="a\\\\"', ('job="a\\\\"',)),
        ('job="a\\nb"', ('job="a\\nb"',)),
    ],
)
def test_matchers_as_promql_has_them_are_understood(text: str, expected: tuple[str, ...]) -> None:
    assert label_matchers(FLAG, text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sidecars", "is not understood from 'sidecars' on"),
        ("job=sidecars", "is not understood"),
        ('job=="a"', "is not understood"),
        ('job="a', "is not understood"),
        ('job="a"} or up{', "lacks a comma before '} or up{'"),
        ('{job="a"} or {job="b"}', "lacks a comma"),
        ('job="a" cluster="b"', "lacks a comma before 'cluster"),
        (',job="a"', "is not understood"),
        ('__name__="up"', "names __name__"),
        ('job="a\\d"', "has \\d in a value"),
        ('0job="a"', "is not understood"),
        ('job="a\nb"', "is not understood"),
        ('job="' + "a" * MOST_CHARACTERS + '"', "characters"),
    ],
)
def test_a_mistake_is_named_with_what_to_write(text: str, words: str) -> None:
    with pytest.raises(PrometheusSettingsError, match=re.escape(words)) as raised:
        label_matchers(FLAG, text)
    assert FLAG in str(raised.value)
    assert re.search("write|name fewer", str(raised.value))


# One matcher as Prometheus reads it: between the quotes no bare quote, line break or lone backslash.
WHOLE = re.compile(r'[a-zA-Z_]\w*(=|!=|=~|!~)"([^"\\\n]|\\.)*"', re.ASCII)


@given(st.text(alphabet=st.sampled_from("ab=~!\"'`\\{},\n ()|_1é"), max_size=40))
@example('a="\\"} or up{a="')
def test_whatever_is_written_nothing_but_whole_matchers_comes_out(text: str) -> None:
    try:
        matchers = label_matchers(FLAG, text)
    except PrometheusSettingsError:
        return
    assert all(WHOLE.fullmatch(each) for each in matchers)
    # What was written is read as the same again.
    assert label_matchers(FLAG, ",".join(matchers)) == matchers


@given(st.text(max_size=20))
def test_any_value_comes_out_as_the_one_that_went_in(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    assert label_matchers(FLAG, f'job="{quoted}"') == (f'job="{quoted}"',)


def test_the_flag_and_its_variable_are_in_the_settings_and_in_each_query() -> None:
    def settings(environment: dict[str, str], *arguments: str) -> tuple[str, ...]:
        parser = argparse.ArgumentParser()

        def flag(name: str, variable: str, default: str | None, text: str) -> None:
            parser.add_argument(name, default=environment.get(variable) or default, help=text)

        add_prometheus_flags((parser,), flag, environment)
        return prometheus_settings(parser.parse_args(arguments)).selector

    assert settings({}) == ()
    assert settings({"DORMOUSE_PROMETHEUS_SELECTOR": 'job="a"'}) == ('job="a"',)
    given = settings({"DORMOUSE_PROMETHEUS_SELECTOR": 'job="a"'}, f'{FLAG}=job="b"')
    assert given == ('job="b"',)
    for query in (idle_signal.residencies(*given), *idle_signal.columns(*given).values()):
        assert query.count('{job="b"}') == 1
