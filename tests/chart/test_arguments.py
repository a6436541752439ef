"""The operator and the webhook understand each argument that the chart gives them, values included."""

from pathlib import Path

import pytest
from dormouse_operator import cli
from dormouse_operator.webhook_cli import webhook_settings

from .helm import SCENARIOS, kinds, template


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_each_argument_is_understood(scenario: Path, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.touch()
    deployments = kinds(template(scenario), "Deployment")
    assert deployments
    for deployment in deployments:
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        program, command = container["command"]
        assert program == "dormouse-operator"
        # Mounted files are not here to be read: an empty one stands for each.
        arguments = [_here(argument, tmp_path) for argument in container["args"]]
        if command == "run":
            given = cli._parser({}).parse_args([command, *arguments, f"--kubeconfig={kubeconfig}"])
            assert cli._settings(given, {}).lease.enabled == ("--lease=on" in arguments)
        else:
            webhook_settings(cli._parser({}).parse_args([command, *arguments]))


def _here(argument: str, folder: Path) -> str:
    before, mounted, path = argument.partition("/etc/dormouse/")
    if not mounted:
        return argument
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    return before + str(file)
