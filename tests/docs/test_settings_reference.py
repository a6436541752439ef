"""`docs/settings.md` has each flag of the commands with its variable and default, and none besides."""

import argparse
import re
from collections.abc import Iterator

import pytest
from dormouse_console import cli as console_cli
from dormouse_modelserver.command.serve_settings import add_serve_arguments
from dormouse_operator import cli as operator_cli
from dormouse_sidecar import cli as sidecar_cli

from .pages import code, read, rows

COLUMNS = ("flag", "environment", "default", "unit")


def serve() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    add_serve_arguments(parser)
    return parser


def operator(command: str) -> argparse.ArgumentParser:
    commands = next(
        action for action in operator_cli._parser({})._actions if isinstance(action, argparse._SubParsersAction)
    )
    found = commands.choices[command]
    assert isinstance(found, argparse.ArgumentParser)
    return found


COMMANDS = [
    pytest.param("dormouse-modelserver serve", serve(), id="serve"),
    pytest.param("dormouse-sidecar", sidecar_cli._parser({}), id="sidecar"),
    pytest.param("dormouse-operator run", operator("run"), id="operator"),
    pytest.param("dormouse-operator savings", operator("savings"), id="savings"),
    pytest.param("dormouse-operator webhook", operator("webhook"), id="webhook"),
    pytest.param("dormouse-console", console_cli._parser({}), id="console"),
]


def flags(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Each flag and its help."""
    for action in parser._actions:
        if action.dest != "help":
            yield action.option_strings[-1], action.help or ""


def written(command: str) -> dict[str, dict[str, str]]:
    """The command's rows by flag: those between its heading and the next."""
    section = re.search(rf"^## `{re.escape(command)}`$(.+?)(?=^## |\Z)", read("settings.md"), re.MULTILINE | re.DOTALL)
    assert section is not None, f"there is no section `{command}`"
    found = list(rows(section[1], *COLUMNS))
    by_flag = {code(row["flag"])[0]: row for row in found}
    assert len(by_flag) == len(found), "a flag is there twice"
    return by_flag


@pytest.mark.parametrize(("command", "parser"), COMMANDS)
def test_each_flag_is_there_and_none_besides(command: str, parser: argparse.ArgumentParser) -> None:
    assert sorted(written(command)) == sorted(flag for flag, _ in flags(parser))


@pytest.mark.parametrize(("command", "parser"), COMMANDS)
def test_variable_and_default_are_those_of_the_help(command: str, parser: argparse.ArgumentParser) -> None:
    page = written(command)
    for flag, text in flags(parser):
        variables = re.findall(r"\b[A-Z]{2,}(?:_[A-Z]+)+\b|\bPORT\b|\bKUBECONFIG\b", text)
        assert code(page[flag]["environment"]) == variables, flag
        default = re.search(r"[;(] ?default (.*?)(?:; also|[)\]])", text)
        said = "" if default is None else default[1].strip()
        assert page[flag]["default"].strip("`–") == said, flag
