"""`dormouse-sidecar`: the command that runs beside a model process."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dormouse_contract.log_lines import log_by_lines
from dormouse_contract.ports import Port

from .limits import Limits
from .listener import PortUnavailable
from .server import Sidecar
from .settings import InvalidSetting, Settings

_log = logging.getLogger(__name__)

_EXAMPLES = """\
examples:
  In a pod, where DORMOUSE_POD_UID comes from the downward API:
    dormouse-sidecar

  Beside a model server on this machine:
    dormouse-sidecar --socket /tmp/model.sock --trust-dir ./trust --pod-uid 6f1c \\
        --control-host 127.0.0.1 --plain-host 127.0.0.1

The control port stays closed until a certificate (*.crt or *.pem) is in the trust folder; metrics and
health are there from the start. SIGTERM stops it.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 after SIGTERM or SIGINT, 1 when it could not run, 2 for a wrong setting."""
    parser = _parser(os.environ)
    chosen = parser.parse_args(arguments)
    log_by_lines(chosen.log_level)
    # It logs every request with its URL at INFO.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = Settings(
            pod_uid=chosen.pod_uid,
            socket_path=chosen.socket,
            trust_dir=chosen.trust_dir,
            control_host=chosen.control_host,
            control_port=chosen.control_port,
            plain_host=chosen.plain_host,
            plain_port=chosen.plain_port,
            trust_poll_seconds=chosen.trust_poll,
            limits=Limits(request_seconds=chosen.request_timeout),
        )
    except InvalidSetting as error:
        parser.error(str(error))
    try:
        asyncio.run(_run(settings))
    except PortUnavailable as error:
        _log.error("%s", error)
        return 1
    return 0


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Sidecar(settings):
        await stop.wait()
        _log.info("stopping")


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dormouse-sidecar",
        description="The authenticated control port, metrics and health in front of a model process.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def add(flag: str, variable: str, default: str, kind: type, text: str) -> None:
        # A string default is converted like an argument, so a bad value from the environment is reported too.
        parser.add_argument(
            flag,
            type=kind,
            default=environment.get(variable, default),
            metavar=kind.__name__.upper(),
            help=f"{text} ({variable}; default {default or 'none, required'})",
        )

    add("--pod-uid", "DORMOUSE_POD_UID", "", str, "UID of this pod; orders for another are refused")
    add("--socket", "DORMOUSE_SOCKET", "/run/dormouse/model.sock", Path, "the model process' socket")
    add("--trust-dir", "DORMOUSE_TRUST_DIR", "/etc/dormouse/trust", Path, "folder of trusted certificates")
    add("--control-host", "DORMOUSE_CONTROL_HOST", "0.0.0.0", str, "address for orders (mTLS)")  # noqa: S104
    add("--control-port", "DORMOUSE_CONTROL_PORT", str(Port.CONTROL), int, "port for orders; 0 takes a free one")
    add("--plain-host", "DORMOUSE_PLAIN_HOST", "0.0.0.0", str, "address for metrics and health")  # noqa: S104
    add(
        "--plain-port", "DORMOUSE_PLAIN_PORT", str(Port.SIDECAR), int, "port for metrics and health; 0 takes a free one"
    )
    add("--trust-poll", "DORMOUSE_TRUST_POLL", "1", float, "seconds between looks into the trust folder")
    add("--request-timeout", "DORMOUSE_REQUEST_TIMEOUT", "5", float, "seconds in which a request must arrive")
    parser.add_argument(
        "--log-level",
        default=environment.get("DORMOUSE_LOG_LEVEL", "INFO").upper(),
        type=str.upper,
        choices=["DEBUG", "INFO", "WARNING", "ERROR"],
        help="(DORMOUSE_LOG_LEVEL; default INFO)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
