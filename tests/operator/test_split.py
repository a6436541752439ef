"""Whoever floods: every other namespace and pod is known in the same look, after a bounded number of questions."""

from __future__ import annotations

import itertools
import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from dormouse_contract.managed_model import Name
from dormouse_operator.idle_signal.parts import BYTES_OF_A_POD, BYTES_OF_ANY_PART, MOST_CHARACTERS, Part
from dormouse_operator.idle_signal.split import FIRST_RETRY_LOOKS, MOST_RETRY_LOOKS, Split
from dormouse_operator.idle_signal.wanted import Wanted
from hypothesis import given
from hypothesis import strategies as st

FLOOD = 50 << 20
MOST_OF_A_POD = BYTES_OF_ANY_PART + BYTES_OF_A_POD


@dataclass
class Series:
    """What Prometheus has: bytes by pod. `selected`: the pods that a ManagedModel selects; the others are strangers."""

    bytes: dict[Name, int] = field(default_factory=dict)
    selected: dict[str, list[str]] = field(default_factory=dict)
    asked: int = 0
    refused: int = 0
    counts: bool = False

    def sizes(self, part: Part) -> dict[tuple[str, ...], int]:
        """Of 200 bytes each."""
        sizes: Counter[tuple[str, ...]] = Counter()
        for pod, size in self.of(part).items():
            sizes[pod if part.pods else pod[:1]] += size // 200
        return sizes

    def wanted(self) -> Wanted:
        return Wanted({name: len(pods) for name, pods in self.selected.items()}, lambda name: self.selected[name])

    def of(self, part: Part) -> dict[Name, int]:
        return {pod: size for pod, size in self.bytes.items() if pod[0] in part.namespaces or pod in part.pods}

    def ask(self, split: Split) -> set[Name]:
        """Whose figures came, for one question."""
        waiting, known = deque(itertools.chain(*split.parts())), set[Name]()
        while waiting:
            part = waiting.popleft()
            found = self.of(part)
            self.asked += 1
            if sum(found.values()) > split.limit_bytes(part):
                self.refused += 1
                waiting.extend(split.failed(part, self.sizes(part) if self.counts else {}))
            else:
                known |= found.keys()
        return known

    def look(self, split: Split, questions: int = 1) -> list[set[Name]]:
        split.begin(self.wanted())
        found = [self.ask(split) for _ in range(questions)]
        split.end()
        return found


def fleet(namespaces: int, pods: int = 2) -> Series:
    names = [f"team-{number}" for number in range(namespaces)]
    selected = {name: [f"tts-{number}" for number in range(pods)] for name in names}
    return Series({(name, pod): 500 for name in names for pod in selected[name]}, selected)


def flooded(strangers: Mapping[str, int], own: Mapping[Name, int], namespaces: int, pods: int) -> Series:
    series = fleet(namespaces, pods)
    series.bytes |= {(name, "stranger"): size for name, size in strangers.items()}
    series.bytes |= own
    return series


SIZES = st.sampled_from([0, 500, BYTES_OF_A_POD, MOST_OF_A_POD + 1, FLOOD])


@given(st.data(), st.integers(1, 40), st.integers(1, 6), st.booleans())
def test_whatever_is_flooded_each_pod_that_is_small_is_known_in_the_same_look(
    data: st.DataObject, namespaces: int, pods: int, counts: bool
) -> None:
    names = st.sampled_from(sorted(fleet(namespaces, pods).selected))
    series = flooded(
        data.draw(st.dictionaries(names, SIZES)),
        data.draw(st.dictionaries(st.tuples(names, st.sampled_from([f"tts-{n}" for n in range(pods)])), SIZES)),
        namespaces,
        pods,
    )
    small = {
        (name, pod)
        for name, selected in series.selected.items()
        for pod in selected
        if series.bytes[name, pod] <= MOST_OF_A_POD
    }
    series.counts = counts
    split = Split()
    for look in range(6):
        for known in series.look(split, questions=3):
            assert small <= known, f"look {look}"
        noisy = {pod for pod, size in series.bytes.items() if size > MOST_OF_A_POD and pod[1] != "stranger"}
        assert set(split.pods_too_large) <= noisy


@given(st.sets(st.integers(0, 255), max_size=8), st.sampled_from([16, 64, 256]))
def test_to_find_the_noisy_ones_takes_a_few_questions_each(noisy: set[int], namespaces: int) -> None:
    noisy = {number % namespaces for number in noisy}
    series = flooded({f"team-{number}": FLOOD for number in noisy}, {}, namespaces, 2)
    split = Split()
    series.look(split)
    assert split.too_large == {f"team-{number}" for number in noisy}
    # Besides the halves, the pods of each by name.
    assert series.asked <= 1 + len(noisy) * (2 * math.log2(namespaces) + 1)


def test_where_series_can_be_counted_a_noisy_one_is_found_at_once() -> None:
    series = flooded({"team-7": FLOOD}, {("team-9", "tts-1"): FLOOD}, 1000, 2)
    series.counts = True
    split = Split()
    (known,) = series.look(split)
    assert len(known) == 2 * 1000 - 1
    assert split.pods_too_large == [("team-9", "tts-1")]
    # All, and then the others; the pods of the two, and then without the one.
    assert (series.asked, series.refused) == (4, 2)


def test_a_namespace_that_is_known_to_be_noisy_costs_nothing_but_one_question_for_its_pods() -> None:
    series = flooded({"team-7": FLOOD}, {("team-9", "tts-1"): FLOOD}, 100, 2)
    split = Split()
    series.look(split)
    series.asked = series.refused = 0
    series.look(split, questions=8)
    assert (series.asked, series.refused) == (2 * 8, 0)
    assert split.too_large == {"team-7", "team-9"}
    assert split.pods_too_large == [("team-9", "tts-1")]


def test_a_flood_that_stays_is_looked_at_less_and_less_often() -> None:
    series, split = flooded({"team-7": FLOOD}, {}, 100, 2), Split()
    tried = []
    for look in range(200):
        before = series.refused
        series.look(split)
        if series.refused > before:
            tried.append(look)
    gaps = [later - earlier for earlier, later in itertools.pairwise(tried)]
    assert gaps[:4] == [4, 8, 16, 32]
    assert set(gaps[4:]) == {MOST_RETRY_LOOKS}


@pytest.mark.parametrize("pod", ["stranger", "tts-1"])
def test_a_flood_that_ended_is_forgotten(pod: str) -> None:
    series, split = flooded({}, {("team-7", pod): FLOOD}, 100, 2), Split()
    series.look(split)
    assert split.too_large == {"team-7"}
    series.bytes["team-7", pod] = 500
    for _ in range(FIRST_RETRY_LOOKS):
        series.look(split)
    assert not split.too_large
    assert not split.pods_too_large
    assert ("team-7", "tts-1") in series.look(split)[0]


def test_a_namespace_without_managed_models_is_neither_asked_for_nor_remembered() -> None:
    series, split = flooded({"team-7": FLOOD}, {}, 10, 2), Split()
    series.look(split)
    del series.selected["team-7"]
    series.look(split)
    assert not split.too_large
    assert all(part.units and ("team-7",) not in part.units for part in itertools.chain(*split.parts()))


def test_a_fleet_that_is_large_without_a_noisy_one_is_asked_in_parts_that_fit_from_then_on() -> None:
    series, split = fleet(1000, 1), Split()
    series.bytes = dict.fromkeys(series.bytes, 20_000)
    series.look(split)
    series.refused = 0
    (known,) = series.look(split)
    assert known == series.bytes.keys()
    assert series.refused == 0
    assert not split.too_large


def test_what_there_was_no_time_for_comes_next_and_apart_from_the_others() -> None:
    series, split = fleet(8), Split()
    split.begin(series.wanted())
    ((whole,), _) = split.parts()
    first, second = split.failed(whole, {})
    split.left(second)
    assert {unit[0] for unit in split.not_in_time} == set(second.namespaces)
    split.end()
    split.begin(series.wanted())
    assert split.parts() == ([first], [second])
    assert not split.not_in_time


def test_when_prometheus_answered_nobody_nobody_is_too_large() -> None:
    series, split = flooded({"team-1": FLOOD}, {}, 2, 2), Split()
    split.begin(series.wanted())
    series.ask(split)
    split.forget()
    assert not split.too_large
    assert not split.pods_too_large


def test_ten_thousand_namespaces_are_asked_for_in_a_few_queries_that_no_proxy_refuses() -> None:
    split = Split()
    names = {f"a-team-with-a-long-name-{number}": 1 for number in range(10_000)}
    split.begin(Wanted(names))
    parts, doubtful = split.parts()
    assert not doubtful
    assert sorted(name for part in parts for name in part.namespaces) == sorted(names)
    assert len(parts) < 8
    assert all(len(part.query(lambda *matchers: "".join(matchers), ())) < MOST_CHARACTERS + 100 for part in parts)


def test_pods_of_the_same_name_in_two_namespaces_are_asked_for_where_they_are_wanted() -> None:
    part = Part(pods=(("a", "tts-0"), ("a", "tts-1"), ("b", "tts-0")))
    query = part.query(lambda *matchers: f"up{{{','.join(matchers)}}}", ('job="sidecars"',))
    assert query == (
        'up{namespace="a",pod=~"tts-0|tts-1",job="sidecars"} or up{namespace="b",pod=~"tts-0",job="sidecars"}'
    )
