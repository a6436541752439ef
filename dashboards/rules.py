"""Recording rules and alerts as Prometheus reads them: plain rules files, which the chart wraps in PrometheusRules."""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

from dormouse_contract.promql.rules import Group, groups

from dashboards.alerts import ALERTS, Alert

FOLDER = Path(__file__).parents[1] / "charts" / "dormouse" / "files" / "rules"
_RECORDING = """\
# Recording rules, made by `make generate` from contract/dormouse_contract/promql/rules.py.
# Names are level:metric:operations. Figures are per replica first, so that a pod that two jobs scrape counts once.
groups:"""
_ALERTS = """\
# Alerts, made by `make generate` from dashboards/alerts.py. Each has a runbook.
groups:
  - name: dormouse.alerts
    rules:"""
_WIDTH = 110


def generated() -> dict[Path, str]:
    """Each generated file with what it should be."""
    recording = (_RECORDING, *(line for group in groups() for line in _group(group)))
    alerts = (_ALERTS, *(line for alert in ALERTS for line in _alert(alert)))
    return {
        FOLDER / "recording.yaml": "\n".join(recording) + "\n",
        FOLDER / "alerts.yaml": "\n".join(alerts) + "\n",
    }


def _group(group: Group) -> Iterator[str]:
    yield f"  - name: {group.name}"
    yield "    rules:"
    for rule in group.rules:
        yield from _why(rule.why)
        yield f"      - record: {rule.record}"
        yield from _expression(rule.expression)


def _alert(alert: Alert) -> Iterator[str]:
    yield from _why(alert.why)
    yield f"      - alert: {alert.name}"
    yield from _expression(alert.condition)
    yield f"        for: {alert.pending_for}"
    yield f"        labels: {{severity: {alert.severity}}}"
    yield "        annotations:"
    yield f"          summary: {json.dumps(alert.summary, ensure_ascii=False)}"
    yield "          description: >-"
    yield from textwrap.wrap(
        alert.description, _WIDTH, initial_indent=" " * 12, subsequent_indent=" " * 12, break_on_hyphens=False
    )
    yield f"          runbook_url: {alert.runbook_url}"


def _why(text: str) -> Iterator[str]:
    if text:
        yield f"      # {text}"


def _expression(expression: str) -> Iterator[str]:
    lines = list(folded(expression))
    if len(lines) == 1:
        yield f"        expr: {lines[0]}"
    else:
        yield "        expr: |"
        yield from (f"          {line}" for line in lines)


def folded(expression: str, indent: str = "") -> Iterator[str]:
    """The same in lines: what stands in parentheses and does not fit goes below them, further in."""
    opened = _longest_parenthesis(expression) if len(indent) + len(expression) > _WIDTH else None
    if opened is None:
        yield indent + expression
        return
    begin, end = opened
    yield from folded(expression[: begin + 1], indent)
    yield from folded(expression[begin + 1 : end], f"{indent}  ")
    yield indent + expression[end:]


def _longest_parenthesis(expression: str) -> tuple[int, int] | None:
    """Where the longest outermost one begins and ends, lists of labels aside. No quoted text of ours has any."""
    open_at: list[int] = []
    found: list[tuple[int, int]] = []
    for at, each in enumerate(expression):
        if each == "(":
            open_at.append(at)
        elif each == ")" and open_at:
            begin = open_at.pop()
            if not open_at and not expression[:begin].endswith(("by ", "on ")):
                found.append((begin, at))
    return max(found, key=lambda pair: pair[1] - pair[0], default=None)
