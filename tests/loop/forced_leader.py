"""The operator as `dormouse-operator run`, told that it leads and under which term: two of these are a split brain.

`python -m tests.loop.forced_leader ISSUER TERM [flags of run]`
"""

import asyncio
import logging
import os
import sys

from dormouse_operator import cli
from dormouse_operator.app import run
from dormouse_operator.leadership.election import Alone
from dormouse_operator.orders import Fence


def main(issuer: str, term: str, *flags: str) -> None:
    logging.basicConfig(level="INFO")
    forced = Alone()
    forced.fence = Fence(issuer, int(term))
    given = cli._parser({}).parse_args(["run", *flags])
    asyncio.run(run(cli._settings(given, os.environ), forced))


if __name__ == "__main__":
    main(*sys.argv[1:])
