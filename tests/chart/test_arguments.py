"""The operator and the webhook understand each argument that the chart gives them, values included."""

import argparse
from pathlib import Path

import pytest
from dormouse_console import cli as console_cli
from dormouse_operator import cli
from dormouse_operator.webhook.command import webhook_settings

from .helm import SCENARIOS, kinds, template


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_each_argument_is_understood(scenario: Path, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.touch()
    deployments = kinds(template(scenario), "Deployment")
    assert deployments
    for deployment in deployments:
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        program, *commands = container["command"]
        if program == "dormouse-console":
            understood_by_the_console([_here(argument, tmp_path) for argument in container["args"]])
            continue
        (command,) = commands
        assert program == "dormouse-operator"
        # Mounted files are not here to be read: an empty one stands for each.
        arguments = [_here(argument, tmp_path) for argument in container["args"]]
        if command == "run":
            given = cli._parser({}).parse_args([command, *arguments, f"--kubeconfig={kubeconfig}"])
            assert cli._settings(given, {}).lease.enabled == ("--lease=on" in arguments)
        else:
            webhook_settings(cli._parser({}).parse_args([command, *arguments]))


def understood_by_the_console(arguments: list[str]) -> None:
    in_the_cluster = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    settings = console_cli._settings(console_cli._parser({}).parse_args(arguments), in_the_cluster)
    assert settings.api_server == "https://10.96.0.1:443"
    assert not settings.local_key


# What an installation says differently than the command by default, and why.
IN_A_CLUSTER = {
    "dormouse-operator run": {
        "--prometheus-url": "only the cluster knows it",
        "--operator-namespace": "the release's",
        "--lease": "two replicas, of which one acts",
        "--lease-name": "the release's, so that two releases do not take turns",
        "--lease-renew-deadline": "a share of the duration, so that one value sets all three",
        "--lease-retry": "a share of the duration",
    },
    "dormouse-operator webhook": {
        "--sidecar-image": "of the chart's version",
        "--sidecar-resources": "a cluster's quotas may ask for some",
    },
    "dormouse-console": {
        "--prometheus-url": "only the cluster knows it",
        "--api-server-ca": "mounted",
        "--health-port": "for the kubelet, which does not reach the pod's loopback",
    },
}


def test_an_installation_has_the_commands_defaults_but_for_those_with_a_reason() -> None:
    parsers = {"dormouse-console": console_cli._parser({})}
    (commands,) = (action for action in cli._parser({})._actions if isinstance(action, argparse._SubParsersAction))
    parsers |= {f"dormouse-operator {name}": parser for name, parser in commands.choices.items()}
    differing = {}
    for deployment in kinds(template({"console": {"enabled": True}, "webhook": {"enabled": True}}), "Deployment"):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        name = " ".join(container["command"])
        given = dict(argument.split("=", 1) for argument in container["args"])
        flags = {action.option_strings[-1]: action.default for action in parsers[name]._actions}
        differing[name] = {flag for flag, value in given.items() if value != flags[flag]}
    assert differing == {name: set(reasons) for name, reasons in IN_A_CLUSTER.items()}


def _here(argument: str, folder: Path) -> str:
    before, mounted, path = argument.partition("/etc/dormouse/")
    if not mounted:
        return argument
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    return before + str(file)
