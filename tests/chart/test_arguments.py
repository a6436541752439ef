"""The operator and the webhook understand each argument that the chart gives them, values included."""

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


def _here(argument: str, folder: Path) -> str:
    before, mounted, path = argument.partition("/etc/dormouse/")
    if not mounted:
        return argument
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    return before + str(file)
