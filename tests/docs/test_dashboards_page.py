"""`docs/dashboards.md` names each panel, each rule and each alert, as they are."""

import json

import pytest
import yaml

from .pages import DOCS, code, read, rows

CHART = DOCS.parent / "charts" / "dormouse"
BOARDS = sorted((CHART / "dashboards").glob("*.json"))
ALERTS = ("alert", "severity", "for")


def rules(name: str) -> list[dict[str, object]]:
    groups = yaml.safe_load((CHART / "files" / "rules" / f"{name}.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)
def test_each_panel_is_named_in_its_row(board: object) -> None:
    loaded = json.loads(board.read_text())  # type: ignore[attr-defined]
    name = loaded["title"].removeprefix("Dormouse / ")
    section = read("dashboards.md").split(f"**{name}**")[1].split("**")[0]
    row = ""
    for panel in loaded["panels"]:
        if panel["type"] == "row":
            (row,) = [one["panels"] for one in rows(section, "row", "panels") if one["row"] == panel["title"]]
        else:
            assert f"*{panel['title']}*" in row, panel["title"]


def test_each_alert_is_there_with_its_severity_and_patience() -> None:
    written = {(code(row["alert"])[0], row["severity"], row["for"]) for row in rows(read("dashboards.md"), *ALERTS)}
    assert written == {(rule["alert"], rule["labels"]["severity"], rule["for"]) for rule in rules("alerts")}  # type: ignore[index]


def test_each_recording_rule_is_there() -> None:
    written = {code(row["recording rule"])[0] for row in rows(read("dashboards.md"), "recording rule", "for each")}
    assert written == {"…:" + str(rule["record"]).partition(":")[2] for rule in rules("recording")}


def test_each_level_is_there() -> None:
    text = read("dashboards.md")
    for level in {str(rule["record"]).partition(":")[0] for rule in rules("recording")}:
        assert f"`{level}:`" in text
