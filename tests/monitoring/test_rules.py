"""The rules on promtool: each recording rule has figures to check, each alert fires in a case and is quiet in one."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dormouse_contract.promql.rules import groups

from dashboards.rules import folded, generated
from localcluster.binaries import ensure_binaries

REPOSITORY = Path(__file__).parents[2]
RULES = REPOSITORY / "charts" / "dormouse" / "files" / "rules"
CASES = Path(__file__).parent / "promtool"
RUNBOOKS = REPOSITORY / "docs" / "runbooks"


def _rules() -> list[dict[str, Any]]:
    return [
        rule
        for file in sorted(RULES.glob("*.yaml"))
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]


def _cases() -> list[dict[str, Any]]:
    return [case for file in sorted(CASES.glob("*.yaml")) for case in yaml.safe_load(file.read_text())["tests"]]


def _promtool(*arguments: str, directory: Path) -> str:
    promtool = ensure_binaries(("promtool",))["promtool"]
    done = subprocess.run([str(promtool), *arguments], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


ALERTS = [rule for rule in _rules() if "alert" in rule]
RECORDS = [rule["record"] for rule in _rules() if "record" in rule]


def test_the_linter_of_prometheus_has_nothing_to_say() -> None:
    files = [str(file) for file in sorted(RULES.glob("*.yaml"))]
    assert "FAILED" not in _promtool("check", "rules", "--lint=all", "--lint-fatal", *files, directory=RULES)


@pytest.mark.parametrize("file", sorted(path.name for path in CASES.glob("*.yaml")))
def test_every_case_holds_on_promtool(file: str) -> None:
    assert "SUCCESS" in _promtool("test", "rules", file, directory=CASES)


@pytest.mark.parametrize("alert", [rule["alert"] for rule in ALERTS])
def test_an_alert_has_a_case_that_fires_and_one_that_does_not(alert: str) -> None:
    tried = [
        bool(test.get("exp_alerts"))
        for case in _cases()
        for test in case.get("alert_rule_test", ())
        if test["alertname"] == alert
    ]
    assert set(tried) == {True, False}


@pytest.mark.parametrize("record", RECORDS)
def test_a_recording_rule_has_a_figure_to_check(record: str) -> None:
    tried = [test["expr"] for case in _cases() for test in case.get("promql_expr_test", ())]
    assert any(record in expression for expression in tried)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_where_its_runbook_stands(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["for"]
    assert {"summary", "description", "runbook_url"} == rule["annotations"].keys()
    page = RUNBOOKS / (rule["annotations"]["runbook_url"].rstrip("/").rpartition("/")[2] + ".md")
    text = page.read_text()
    assert text.startswith(f"# {rule['alert']}\n")
    for heading in ("## Meaning", "## Impact", "## Diagnosis", "## Mitigation"):
        assert heading in text


def test_no_runbook_is_left_over() -> None:
    named = {rule["annotations"]["runbook_url"].rstrip("/").rpartition("/")[2] for rule in ALERTS}
    assert {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"} == named


def test_the_committed_rules_are_what_the_code_gives() -> None:
    for path, text in generated().items():
        assert path.read_text(encoding="utf-8") == text, "run: make generate"


def test_an_expression_in_lines_is_the_expression() -> None:
    for group in groups():
        for rule in group.rules:
            assert "".join("".join(folded(rule.expression)).split()) == "".join(rule.expression.split())
