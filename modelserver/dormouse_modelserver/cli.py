"""`dormouse-modelserver`: serve models, or check without a GPU whether they could sleep."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence

from dormouse_contract.log_lines import log_by_lines

from .command.serve_settings import ServeSettings, add_serve_arguments, project_dir, resolve
from .errors import ConfigurationError

_EXAMPLES = """examples:
  dormouse-modelserver serve --model tts=my_app.models:load_tts --idle-timeout 300
  dormouse-modelserver serve --app my_app.server:create_app --device sim:4GiB
  GPU_IDLE_TIMEOUT=never PORT=7861 dormouse-modelserver serve --app my_app.server:create_app

create_app(residency) gets the ResidencyManager and returns an ASGI app; load_tts() returns the model on the CPU.
Each option also comes from the environment and from $PROJECT_DIR/dormouse.toml, in this order of precedence:
option, environment, file. The file may give a model times of its own:
  app = "my_app.server:create_app"
  [models.tts]
  load = "my_app.models:load_tts"
  idle-timeout = 60"""

_CHECK_EXAMPLES = """examples:
  dormouse-modelserver check my_app.models:load_tts
  dormouse-modelserver check my_app.models:load_tts --example my_app.models:say_hello
  dormouse-modelserver check my_app.server:create_app --json

say_hello(model) uses the model as a request does. It is asked twice, with a sleep between, and must answer the same.
Exit status: 0, or 1 when something would go wrong on a GPU, or 2 when nothing could be checked."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dormouse-modelserver", description="Serve torch models that sleep when nobody asks for them."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="serve models and an app, with GPU management",
        description="Serve models and an app, with GPU management.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_serve_arguments(serve)
    check = commands.add_parser(
        "check",
        help="say without a GPU what of a model would move, what not and why",
        description="Load models and let them sleep on a simulated device that refuses to mix with the CPU.",
        epilog=_CHECK_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("target", metavar="APP_OR_MODEL", help="MODULE:FUNCTION: a model's load, or create_app")
    check.add_argument("--example", metavar="MODULE:FUNCTION", help="called with the model, twice; gives an answer")
    check.add_argument("--json", action="store_true", help="write the report as JSON")
    return parser


def _check(given: argparse.Namespace) -> int:
    from .command.checking import check

    report = check(given.target, given.example, project_dir())
    if given.json:
        print(json.dumps({"ok": all(one.ok for one in report), "models": [one.as_json() for one in report]}, indent=2))
    else:
        for one in report:
            print(*one.lines(), sep="\n")
        if not report:
            print("no model was registered, so nothing could be checked")
    return 0 if report and all(one.ok for one in report) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    log_by_lines()
    # One line per request to the metrics or health route would drown the transitions.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # Its INFO lines come from a logger called uvicorn.error, which reads as if something were wrong.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        if given.command == "check":
            logging.getLogger("dormouse").setLevel(logging.CRITICAL)  # the report says what they say
            return _check(given)
        settings: ServeSettings = resolve(given)
        # torch takes seconds to import: only after the settings are known to be good.
        from .command.serving import run

        return run(settings)
    except ConfigurationError as error:
        print(f"dormouse-modelserver: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
