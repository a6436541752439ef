"""The recording rules as Prometheus reads them: a plain rules file, which the chart wraps in a PrometheusRule."""

from collections.abc import Iterator
from pathlib import Path

from dormouse_contract.promql.rules import Group, groups

FILE = Path(__file__).parents[1] / "charts" / "dormouse" / "files" / "rules" / "recording.yaml"
_HEAD = """\
# Recording rules, written by `python -m dashboards.rules` from contract/dormouse_contract/promql/rules.py.
# Names are level:metric:operations. Figures are per replica first, so that a pod that two jobs scrape counts once.
groups:"""
_WIDTH = 110


def generated() -> dict[Path, str]:
    """Each generated file with what it should be."""
    return {FILE: "\n".join((_HEAD, *(line for group in groups() for line in _group(group)))) + "\n"}


def _group(group: Group) -> Iterator[str]:
    yield f"  - name: {group.name}"
    yield "    rules:"
    for rule in group.rules:
        if rule.why:
            yield f"      # {rule.why}"
        yield f"      - record: {rule.record}"
        lines = list(folded(rule.expression))
        if len(lines) == 1:
            yield f"        expr: {lines[0]}"
        else:
            yield "        expr: |"
            yield from (f"          {line}" for line in lines)


def folded(expression: str, indent: str = "") -> Iterator[str]:
    """The same in lines: what stands in parentheses and does not fit goes below them, further in."""
    if len(indent) + len(expression) <= _WIDTH:
        yield indent + expression
        return
    opened = _longest_parenthesis(expression)
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


def write() -> None:
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
