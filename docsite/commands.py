"""What each command's `--help` says, on one page."""

import argparse
import textwrap
from collections.abc import Iterator

from dormouse_console import cli as console_cli
from dormouse_console.plugin import cli as kubectl_cli
from dormouse_modelserver import cli as modelserver_cli
from dormouse_operator import cli as operator_cli
from dormouse_sidecar import cli as sidecar_cli

from docsite.markdown import NOTE, code, table

_HEAD = """\
# Commands

What `--help` says. [Settings](../settings.md) has each option's unit, what 0 and never mean, and what follows from it.
"""


def commands() -> str:
    # An empty environment: the defaults are those of the code, not of the machine that writes this page.
    parsers = (
        modelserver_cli._parser(),
        sidecar_cli._parser({}),
        operator_cli._parser({}),
        console_cli._parser({}),
        kubectl_cli._parser({}),
    )
    lines = [NOTE, "", _HEAD.strip()]
    for parser in parsers:
        shown: set[str] = set()
        for name, command, told in _commands(parser):
            examples = "" if command.epilog in shown else command.epilog or ""
            shown.add(examples)
            lines += ["", f"## {code(name)}", "", *_command(command, told, examples)]
    return "\n".join(lines) + "\n"


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """The command itself or, where it has some, its subcommands, with what the list of them says."""
    subcommands = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if not subcommands:
        yield parser.prog, parser, ""
    for group in subcommands:
        told = {one.dest: one.help or "" for one in group._choices_actions}
        for name, command in group.choices.items():
            yield f"{parser.prog} {name}", command, told.get(name, "")


def _command(command: argparse.ArgumentParser, told: str, examples: str) -> Iterator[str]:
    """Examples that its siblings have as well are shown with the first of them."""
    yield command.description or f"{told[:1].upper()}{told[1:]}."
    if examples:
        yield from ("", "```text", textwrap.dedent(examples).strip(), "```")
    yield ""
    yield from table(
        ("option", "meaning"),
        (
            (", ".join(code(name) for name in action.option_strings or [action.dest.upper()]), _meaning(action))
            for action in command._actions
            if action.dest != "help"
        ),
    )


def _meaning(action: argparse.Action) -> str:
    choices = f"one of {', '.join(map(str, action.choices))} " if action.choices else ""
    return f"{choices}{action.help or ''}".replace("|", "or")
