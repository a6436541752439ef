"""Adding up what the replicas measured, and the sentences of the command."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dormouse_contract.quantity import from_quantity
from dormouse_contract.savings.ledger import Figures, Price, Replica, as_table, ledger
from dormouse_operator.cli import main
from hypothesis import given
from hypothesis import strategies as st

GIB = 2.0**30


def replica(owner: str = "tts", byte_seconds: float = 3600 * GIB, **changes: Any) -> Replica:
    figures = Figures(byte_seconds, 2, 10, 20, 30, 1, 0.5)
    return Replica(**{"namespace": "speech", "pod": "p", "model": "m", "figures": figures, "owner": owner} | changes)


def test_lines_are_by_managed_model_and_the_totals_are_their_sums() -> None:
    book = ledger([replica(), replica(pod="q"), replica("asr"), replica("llm", namespace="chat")], 0, 100)
    assert [(line.namespace, line.name, line.replicas) for line in book.models] == [
        ("speech", "tts", 2),
        ("chat", "llm", 1),
        ("speech", "asr", 1),
    ]
    assert [(line.namespace, line.figures.transitions) for line in book.namespaces] == [("speech", 6), ("chat", 2)]
    assert book.fleet.figures == Figures(4 * 3600 * GIB, 8, 40, 80, 120, 4, 2.0)


def test_simulated_replicas_count_only_where_everything_is_simulated() -> None:
    real, sim = replica(), replica("toy", simulated=True)
    mixed = ledger([real, sim], 0, 1)
    assert (mixed.fleet.replicas, mixed.fleet.simulated) == (1, False)
    assert [line.simulated for line in mixed.models] == [False, True]
    assert [line.replicas for line in mixed.namespaces] == [1]
    alone = ledger([sim], 0, 1)
    assert (alone.fleet.replicas, alone.fleet.simulated) == (1, True)
    assert "toy [sim]" in as_table(alone)
    assert "no GPU memory was really released" in as_table(alone)


def test_money_is_an_upper_bound_that_says_what_it_assumes_and_never_for_simulated_memory() -> None:
    price = Price(per_gpu_hour=2.0, gpu_bytes=80 * GIB)
    book = ledger([replica(byte_seconds=80 * GIB * 3600), replica("toy", simulated=True)], 0, 1)
    told: Any = book.as_json(price)
    assert told["fleet"]["atMostMoney"] == 2.0
    assert [line.get("atMostMoney") for line in told["models"]] == [2.0, None]
    text = as_table(book, price)
    assert "AT MOST: 2 per hour for a GPU of 80Gi, as if every released byte had been put to use." in text
    assert "atMostMoney" not in json.dumps(book.as_json())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(0, 10**12)), max_size=20))
def test_no_byte_is_lost_or_counted_twice_between_the_three_levels(rows: list[tuple[str, str, int]]) -> None:
    book = ledger([replica(owner, float(count), namespace=space) for space, owner, count in rows], 0, 1)
    total = sum(count for *_, count in rows)
    for lines in (book.models, book.namespaces, (book.fleet,)):
        assert sum(line.figures.released_byte_seconds for line in lines) == total


def test_a_replica_that_nobody_manages_is_shown_as_such() -> None:
    assert "(not managed)" in as_table(ledger([replica("")], 0, 1))


@pytest.mark.parametrize(("text", "size"), [("80Gi", 80 * GIB), ("80G", 80e9), ("1.5Ki", 1536), ("7", 7)])
def test_memory_is_written_as_kubernetes_writes_it(text: str, size: float) -> None:
    assert from_quantity(text) == size


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--since", "week"], "for example 7d"),
        (["--since", "0d"], "for example 7d"),
        (["--since", "2y"], "for example 7d"),
        (["--price-per-gpu-hour", "2"], "needs both"),
        (["--gpu-memory", "80Gi"], "needs both"),
        (["--price-per-gpu-hour", "free", "--gpu-memory", "80Gi"], "write a number above 0"),
        (["--price-per-gpu-hour", "2", "--gpu-memory", "big"], "for example 80Gi"),
        (["--price-per-gpu-hour", "2", "--gpu-memory", "0"], "for example 80Gi"),
        (["--namespace", 'a"} or vector(1'], "name of a namespace"),
        (["--prometheus-url", "prometheus:9090"], "http://prometheus.monitoring:9090"),
        (["--scrape-interval", "often"], "write a number above 0"),
        (["--prometheus-url", "http://127.0.0.1:1"], "can't be reached"),
    ],
)
def test_bad_input_ends_with_one_sentence_that_says_what_to_write(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["savings", *arguments]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
