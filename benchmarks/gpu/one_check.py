"""One check in a separate process: `python -m benchmarks.gpu.one_check NAME DEVICE SECONDS LIMIT FOLDER`.

Findings go to stdout as lines of JSON. What libraries print goes to stderr, which is shown only when the check breaks.
"""

import importlib
import os
import sys
import traceback
from pathlib import Path

from .checks import CHECKS
from .reporting import Report


def main(arguments: list[str]) -> int:
    name, device, seconds, limit, folder = arguments
    check = next(check for check in CHECKS if check.name == name)
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    report = Report(channel, device, float(seconds), float(limit), Path(folder))
    status = 0
    try:
        importlib.import_module(check.module).run(report)
    except BaseException:
        traceback.print_exc()
        status = 1
    channel.close()
    sys.stderr.flush()
    # Not the interpreter's own end: on a device that broke, freeing what is left may hang.
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
