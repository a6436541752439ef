"""Each default is what `dormouse_contract.defaults` says, wherever a user or a program meets it.

The walks find their places by themselves: a default that is new in the CRD, in the page's scripts or in a sentence of
the docs fails here until it is compared. The chart's are compared in `tests/chart/test_arguments.py`.
"""

import argparse
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dormouse_console.plugin import cli as kubectl_cli
from dormouse_contract import Policy, defaults
from dormouse_contract.managed_model import managed_model
from dormouse_modelserver import ResidencyManager
from dormouse_modelserver.command.serve_settings import add_serve_arguments, resolve
from dormouse_modelserver.lifecycle.settings import SlotSettings
from dormouse_operator import cli as operator_cli
from dormouse_operator.keys.rotation import Rules
from dormouse_operator.keys.settings import KeySettings
from dormouse_operator.settings import Settings
from dormouse_prometheus.settings import PrometheusSettings
from dormouse_sidecar import cli as sidecar_cli
from dormouse_sidecar.limits import Limits
from dormouse_sidecar.settings import Settings as SidecarSettings

from tests.docs.pages import DOCS, code, read, rows

ROOT = DOCS.parent
WITH_PAGES = [ROOT / "console", ROOT / "modelserver", ROOT / "webkit"]
SCHEMA = yaml.safe_load((ROOT / "crds" / "managedmodel.yaml").read_text())["spec"]["versions"][0]["schema"]
OF_A_MANAGED_MODEL = {
    "mode": str(Policy().mode),
    "residency": "Auto" if Policy().residency is None else str(Policy().residency),
    "policy": {},
    "policy.minResidentSeconds": defaults.MIN_RESIDENT_SECONDS,
    "policy.wakeBudgetSeconds": defaults.WAKE_BUDGET_SECONDS,
}
FRESH_SECONDS = 2 * defaults.SCRAPE_INTERVAL_SECONDS + defaults.TICK_SECONDS
LOCAL_BELOW_SECONDS = 2 * defaults.SCRAPE_INTERVAL_SECONDS
LOOK_SECONDS = defaults.SCRAPE_INTERVAL_SECONDS + defaults.TICK_SECONDS
# Sentences of pages written by hand: how each goes, and the seconds that it must name.
IN_SENTENCES = [
    ("concepts.md", r"two scrape intervals, (\S+) s by default", LOCAL_BELOW_SECONDS),
    ("policy.md", r"two scrape intervals \((\S+) s\)", LOCAL_BELOW_SECONDS),
    ("prometheus.md", r"`--tick` \((\S+) s by default\)", FRESH_SECONDS),
    ("failure-modes.md", r"`--scrape-interval (\S+?)`", defaults.SCRAPE_INTERVAL_SECONDS),
    ("failure-modes.md", r"`--tick (\S+?)`", defaults.TICK_SECONDS),
    ("faq.md", r"once a tick: (\S+) s together with the defaults", LOOK_SECONDS),
    ("standalone.md", r"a wake may take\*\*: (\S+) s by default", defaults.WAKE_BUDGET_SECONDS),
    ("runbooks/wake-slow.md", r"`wakeBudgetSeconds` \((\S+) s by default\)", defaults.WAKE_BUDGET_SECONDS),
    ("settings.md", r"a wake budget of (\S+) s, unless an operator", defaults.WAKE_BUDGET_SECONDS),
    ("settings.md", r"2 × scrape interval \+ tick \| (\S+) s ", FRESH_SECONDS),
    ("settings.md", r"below 2 × scrape interval \| below (\S+) s ", LOCAL_BELOW_SECONDS),
    ("settings.md", r"\| scrape interval \+ tick \| (\S+) s ", LOOK_SECONDS),
]


def crd_defaults(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in schema.get("properties", {}).items():
        below = f"{path}.{name}".lstrip(".")
        if "default" in field:
            yield below, field["default"]
        yield from crd_defaults(field, below)
        yield from crd_defaults(field.get("items", {}), f"{below}[]")


SPEC = SCHEMA["openAPIV3Schema"]["properties"]["spec"]


def test_the_crd_has_these_defaults_and_no_others() -> None:
    assert dict(crd_defaults(SPEC)) == OF_A_MANAGED_MODEL


@pytest.mark.parametrize("spec", [{}, {"policy": {}}, "as the API server fills it in"], ids=str)
def test_a_managed_model_is_read_with_these_defaults(spec: Any) -> None:
    if isinstance(spec, str):
        found = dict(crd_defaults(SPEC))
        spec = {name: value for name, value in found.items() if "." not in name}
        spec["policy"] = {name.removeprefix("policy."): found[name] for name in found if name.startswith("policy.")}
    body = {
        "metadata": {"uid": "u", "namespace": "speech", "name": "tts", "resourceVersion": "1"},
        "spec": {"selector": {"matchLabels": {"app": "tts"}}} | spec,
    }
    assert managed_model(body).policy == Policy()


def test_a_policy_that_says_nothing_has_these_defaults() -> None:
    assert Policy().min_resident_seconds == defaults.MIN_RESIDENT_SECONDS
    assert Policy().wake_budget_seconds == defaults.WAKE_BUDGET_SECONDS


def test_a_server_by_itself_differs_in_its_minimum_residence_only() -> None:
    own = SlotSettings().policy()
    assert own.min_resident_seconds == defaults.SERVER_MIN_RESIDENT_SECONDS == 0
    assert own.wake_budget_seconds == Policy().wake_budget_seconds
    assert (own.offload_after_seconds, own.unload_after_seconds) == (None, None)


def test_the_library_has_the_slots_defaults() -> None:
    given = {name: one.default for name, one in inspect.signature(ResidencyManager).parameters.items()}
    own = SlotSettings()
    assert {
        name: given[name]
        for name in ("idle_timeout", "unload_timeout", "after_task", "min_resident", "wake_budget", "max_waiting")
    } == {
        "idle_timeout": own.idle_timeout_seconds,
        "unload_timeout": own.unload_timeout_seconds,
        "after_task": own.after_task,
        "min_resident": own.min_resident_seconds,
        "wake_budget": own.wake_budget_seconds,
        "max_waiting": own.max_waiting,
    }
    assert (own.after_task, own.max_waiting) == (defaults.AFTER_TASK, defaults.MAX_WAITING)


def test_serve_has_an_idle_timeout_unless_an_operator_decides() -> None:
    parser = argparse.ArgumentParser()
    add_serve_arguments(parser)
    given = parser.parse_args(["--model", "tts=models:load"])
    assert resolve(given, {}).idle_timeout == defaults.SERVE_IDLE_TIMEOUT_SECONDS
    assert resolve(given, {}).after_task == defaults.AFTER_TASK
    assert resolve(given, {"DORMOUSE_SOCKET": "/run/dormouse/model.sock"}).idle_timeout is None


def test_the_start_script_differs_in_what_a_task_leaves_behind() -> None:
    script = (ROOT / "modelserver" / "start_with_gpu_management.sh").read_text()
    assert re.findall(r"^ +GPU_AFTER_TASK=(\w+)$", script, re.MULTILINE) == [defaults.START_SCRIPT_AFTER_TASK]
    assert f"GPU_AFTER_TASK      {defaults.START_SCRIPT_AFTER_TASK} (here the default)" in script
    (row,) = (
        row for row in rows(read("settings.md"), "variable", "needed", "default") if "AFTER_TASK" in row["variable"]
    )
    assert code(row["default"]) == [defaults.START_SCRIPT_AFTER_TASK]


def test_the_operators_flags_have_the_defaults_of_its_settings(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.touch()
    given = operator_cli._parser({}).parse_args(["run", f"--kubeconfig={kubeconfig}"])
    settings = operator_cli._settings(given, {})
    prometheus = PrometheusSettings(settings.prometheus.url)
    assert settings == Settings(kubeconfig, prometheus, settings.operator_namespace)
    assert settings.scrape_interval_seconds == defaults.SCRAPE_INTERVAL_SECONDS
    assert settings.tick_seconds == defaults.TICK_SECONDS
    assert KeySettings().rules == Rules()


def test_the_sidecars_flags_have_the_defaults_of_its_settings() -> None:
    given = sidecar_cli._parser({}).parse_args(["--pod-uid=u"])
    own = SidecarSettings("u")
    assert {
        "socket": own.socket_path,
        "trust_dir": own.trust_dir,
        "control_host": own.control_host,
        "control_port": own.control_port,
        "plain_host": own.plain_host,
        "plain_port": own.plain_port,
        "trust_poll": own.trust_poll_seconds,
        "request_timeout": Limits().request_seconds,
    }.items() <= vars(given).items()


@pytest.mark.parametrize(
    "parser", [operator_cli._parser({}), kubectl_cli._parser({})], ids=["dormouse-operator", "kubectl dormouse"]
)
def test_every_command_that_counts_scrapes_takes_them_to_come_as_often(parser: argparse.ArgumentParser) -> None:
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    flags = [
        action
        for command in commands.choices.values()
        for action in command._actions
        if "--scrape-interval" in action.option_strings
    ]
    assert flags
    for flag in flags:
        assert flag.default == f"{defaults.SCRAPE_INTERVAL_SECONDS:g}"
        assert f"default {flag.default}" in (flag.help or "")


def test_no_page_knows_a_default() -> None:
    """What the servers answer has them; a script that fills one in says it a second time."""
    found = {
        (name, float(value))
        for folder in WITH_PAGES
        for script in folder.rglob("*.js")
        for name, value in re.findall(r"\b(\w+Seconds)\b\s*\?\?\s*([\d.]+)", script.read_text())
    }
    assert found == set()


def test_the_policys_page_says_what_an_absent_setting_means() -> None:
    ladder = {code(row["setting"])[0]: row["absent"] for row in rows(read("policy.md"), "setting", "absent")}
    known = {
        name: f"{field['default']:g}" if "default" in field else "never"
        for name, field in SPEC["properties"]["policy"]["properties"].items()
        if name.endswith("Seconds")
    }
    assert ladder == known


@pytest.mark.parametrize(("page", "sentence", "seconds"), IN_SENTENCES, ids=lambda part: str(part))
def test_a_sentence_of_the_docs_names_the_default(page: str, sentence: str, seconds: float) -> None:
    said = re.findall(sentence, read(page))
    assert said == [f"{seconds:g}"]


def test_no_other_sentence_names_a_default_in_seconds() -> None:
    named = re.compile(r"[\d.]+ (?:s|seconds) by default|by default [\d.]+ (?:s|seconds)\b")
    for file in DOCS.rglob("*.md"):
        page = file.relative_to(DOCS).as_posix()
        text = file.read_text()
        compared = [
            found.span() for where, regex, _ in IN_SENTENCES if where == page for found in re.finditer(regex, text)
        ]
        for found in named.finditer(text):
            assert any(begin <= found.start() < end for begin, end in compared), f"{page}: {found[0]}: add it above"
