"""`docs/metrics.md` has each metric of the contract once, as it is, and none besides."""

import re

from dormouse_contract import metrics
from dormouse_operator.orders import Outcome

from .pages import DOCS, code, read, rows

COLUMNS = ("metric", "type", "labels", "meaning")


def test_the_tables_have_each_metric_of_the_contract_with_its_type_and_labels() -> None:
    written = [
        (*code(row["metric"]), row["type"], tuple(code(row["labels"]))) for row in rows(read("metrics.md"), *COLUMNS)
    ]
    assert sorted(written) == sorted((metric.name, str(metric.type), metric.labels) for metric in metrics.ALL)


def test_each_metric_is_explained() -> None:
    assert [row["metric"] for row in rows(read("metrics.md"), *COLUMNS) if len(row["meaning"]) < 5] == []


def test_no_page_names_a_metric_that_does_not_exist() -> None:
    known = {metric.name for metric in metrics.ALL}
    for page in DOCS.rglob("*.md"):
        named = set(re.findall(r"`(dormouse_\w+)", page.read_text()))
        assert named <= known, f"{page.name}: {sorted(named - known)}"


def test_each_outcome_of_an_order_is_listed() -> None:
    listed = re.search(r"`outcome` of an order: (.+?)\.\s", read("metrics.md"), re.DOTALL)
    assert listed is not None
    assert set(code(listed[1])) == set(Outcome)
