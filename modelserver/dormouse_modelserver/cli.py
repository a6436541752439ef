"""`dormouse-modelserver serve`: the model server that stands alone, or behind a sidecar."""

import argparse
import logging
import sys
from collections.abc import Sequence

from .command.serve_settings import ServeSettings, add_serve_arguments, resolve
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
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # One line per request to the metrics or health route would drown the transitions.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # Its INFO lines come from a logger called uvicorn.error, which reads as if something were wrong.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        settings: ServeSettings = resolve(given)
        # torch takes seconds to import: only after the settings are known to be good.
        from .command.serving import run

        return run(settings)
    except ConfigurationError as error:
        print(f"dormouse-modelserver: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
