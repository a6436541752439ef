"""The shipped rules with shorter times, so that a test on a real Prometheus need not wait for an hour.

Only durations and the limits that are times or numbers of events within one are changed; what an alert looks
at, and how, stays. The real durations are tried by promtool, in `test_rules.py`.
"""

import re
from pathlib import Path

import yaml

SHORTER = {
    "DormouseStuckTransitioning": ("> 600", "> 3"),
    "DormouseFlapping": ("> 12", "> 2"),
    "DormouseReconcileStalled": ("> 300", "> 5"),
}
FOR = "1s"
WINDOW = "40s"


def hurried(rules: Path, folder: Path) -> list[Path]:
    """Writes the changed files into `folder`; fails when a limit is no longer where it was."""
    files = []
    for file in sorted(rules.glob("*.yaml")):
        content = yaml.safe_load(file.read_text())
        for group in content["groups"]:
            for rule in group["rules"]:
                if name := rule.get("alert"):
                    rule["for"] = FOR
                    for limit, shorter in [SHORTER[name]] if name in SHORTER else []:
                        assert limit in rule["expr"], f"{name} has no {limit}"
                        rule["expr"] = rule["expr"].replace(limit, shorter)
                rule["expr"] = re.sub(r"(\[|offset )(1h|10m)", rf"\g<1>{WINDOW}", rule["expr"])
        hurried_file = folder / file.name
        hurried_file.write_text(yaml.safe_dump(content, sort_keys=False))
        files.append(hurried_file)
    return files
