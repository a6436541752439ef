"""The committed dashboards: fresh, of the SDK's types, and by the rules that good dashboards keep."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.files import BUILDERS, FOLDER, generated
from generate.sources import stale

BOARDS: dict[str, dict[str, Any]] = {name: json.loads((FOLDER / f"{name}.json").read_text()) for name in BUILDERS}
# What Grafana's Prometheus data source knows of an annotation and the SDK's type does not.
BEYOND_THE_TYPE = ("titleFormat", "textFormat", "tagKeys")


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in board["panels"]:
        if panel["type"] != "row":
            yield panel
        yield from panel.get("panels", ())


def queries(board: dict[str, Any]) -> Iterator[str]:
    for panel in panels(board):
        yield from (target["expr"] for target in panel["targets"])


ALL_PANELS = [(name, panel) for name, board in BOARDS.items() for panel in panels(board)]
each_board = pytest.mark.parametrize("name", BOARDS)
each_panel = pytest.mark.parametrize(
    "panel", [panel for _, panel in ALL_PANELS], ids=[f"{name}: {panel['title']}" for name, panel in ALL_PANELS]
)


def test_the_committed_files_are_what_the_code_gives() -> None:
    assert not stale(generated()), "write them anew: make generate"


@each_board
def test_a_dashboard_is_of_the_types_of_the_pinned_sdk(name: str) -> None:
    """Read into the types and written again, nothing is lost or added."""
    board = BOARDS[name]
    for mark in board.get("annotations", {}).get("list", ()):
        for key in BEYOND_THE_TYPE:
            mark.pop(key, None)
    again = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    assert again == board


@each_board
def test_a_dashboard_can_be_found_and_linked_to(name: str) -> None:
    board = BOARDS[name]
    assert board["uid"] == name
    assert board["title"].startswith("Dormouse / ")
    assert board["description"]
    assert board["tags"] == ["dormouse"]
    assert board["editable"] is False
    assert any(link["type"] == "dashboards" and link["keepTime"] and link["includeVars"] for link in board["links"])


@each_board
def test_data_source_and_cluster_are_chosen_at_the_top(name: str) -> None:
    variables = {variable["name"]: variable for variable in BOARDS[name]["templating"]["list"]}
    assert variables["datasource"]["query"] == "prometheus"
    assert variables["cluster"]["allValue"] == ".*"
    used = {word for query in queries(BOARDS[name]) for word in re.findall(r"\$(\w+)", query)} - {"1"}
    own = {word for word in used if not word.startswith("__")}
    assert own <= variables.keys()


@each_board
def test_panels_do_not_cover_each_other(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        at = panel["gridPos"]
        x, y = at.get("x", 0), at.get("y", 0)
        cells = {(x + right, y + down) for right in range(at["w"]) for down in range(at["h"])}
        assert x + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@each_panel
def test_a_panel_says_what_it_shows_and_in_what_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["fieldConfig"]["defaults"]["noValue"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@each_panel
def test_a_panels_queries_follow_the_chosen_range_and_resolution(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "${datasource}"
        windows = re.findall(r"\[([^\]]+)\]", target["expr"])
        allowed = {"$__range"} if target.get("instant") else {"$__rate_interval"}
        assert set(windows) <= allowed, target["expr"]
        assert "irate(" not in target["expr"]


@each_panel
def test_several_lines_have_names(panel: dict[str, Any]) -> None:
    if panel["type"] in {"timeseries", "state-timeline"}:
        assert all(target["legendFormat"] for target in panel["targets"])


def test_residency_has_the_three_lights() -> None:
    (timeline,) = [panel for panel in panels(BOARDS["dormouse-model"]) if panel["type"] == "state-timeline"]
    (mapping,) = timeline["fieldConfig"]["defaults"]["mappings"]
    assert [mapping["options"][value]["text"] for value in "210"] == ["🟢 GPU", "🟡 CPU", "⚪ Unloaded"]


def test_transitions_are_marked_on_the_models_page() -> None:
    (mark,) = BOARDS["dormouse-model"]["annotations"]["list"]
    assert "dormouse_transitions_total" in mark["expr"]


def test_the_fleet_leads_to_a_model() -> None:
    linked = [
        link["url"]
        for panel in panels(BOARDS["dormouse-fleet"])
        for link in panel["fieldConfig"]["defaults"].get("links", ())
    ]
    assert linked
    assert all(url.startswith("/d/dormouse-model?") for url in linked)
