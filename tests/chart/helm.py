"""Helm as a user calls it, and what it renders as objects."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from localcluster.binaries import binary

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "dormouse"
SCENARIOS = sorted((CHART / "ci").glob("*-values.yaml"))
# Not dormouse-system: other tests on the same API server have that one.
NAMESPACE = "chart-release"
Object = dict[str, Any]


class HelmFailed(Exception):
    """What it said."""


def helm(*arguments: str | Path, stdin: str | None = None, environment: dict[str, str] | None = None) -> str:
    answer = subprocess.run(
        [binary("helm"), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": os.defpath, "HOME": "/nonexistent"} | (environment or {}),
    )
    if answer.returncode != 0:
        raise HelmFailed(answer.stderr + answer.stdout)
    return answer.stdout


def template(values: Object | Path | None = None, *, release: str = "dormouse", chart: Path = CHART) -> list[Object]:
    """The rendered objects, hooks included. Raises HelmFailed."""
    given = json.dumps(values or {}) if not isinstance(values, Path) else values.read_text()
    text = helm(
        "template", release, chart, "--namespace", NAMESPACE, "--kube-version", "1.34.4", "--values", "-", stdin=given
    )
    return [found for found in yaml.safe_load_all(text) if found]


def kinds(objects: list[Object], kind: str) -> list[Object]:
    return [found for found in objects if found["kind"] == kind]


def only(objects: list[Object], kind: str, suffix: str = "") -> Object:
    """The one object of this kind whose name ends so."""
    (found,) = (o for o in kinds(objects, kind) if o["metadata"]["name"].endswith(suffix))
    return found


def container(objects: list[Object], name: str = "operator") -> Object:
    (found,) = (
        c
        for deployment in kinds(objects, "Deployment")
        for c in deployment["spec"]["template"]["spec"]["containers"]
        if c["name"] == name
    )
    return found
