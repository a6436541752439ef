"""Everything that can go wrong here, in one tree.

    LocalClusterError
    ├── BinaryUnavailable     a binary could be neither found nor built
    ├── ChildDied             a process ended although it should be running
    ├── NotReadyInTime        a process runs, but did not get ready before its deadline
    ├── KubectlFailed         kubectl ended with an error; `.stderr` has its words
    ├── ApiRefused            the API server answered with an error; `.status` has its code
    └── QueryFailed           Prometheus refused a query

Each message says what happened, what is unharmed and what to do next, since most people meet these
in a test's output and have nothing else to go by.
"""

from __future__ import annotations


class LocalClusterError(Exception):
    """The root: catch this one to treat every failure of the local cluster alike."""


class BinaryUnavailable(LocalClusterError):
    """Neither found nor built. Nothing half was left in the cache, so trying again is safe."""


class ChildDied(LocalClusterError):
    """A process ended by itself. Trying again helps only when its log says so."""


class NotReadyInTime(LocalClusterError):
    """The deadline passed. Trying again may help on a machine that was busy."""


class KubectlFailed(LocalClusterError):
    """kubectl's own exit status and words, so that tests can assert on what a user would read."""

    def __init__(self, arguments: tuple[str, ...], returncode: int, stderr: str) -> None:
        super().__init__(f"kubectl {' '.join(arguments)} ended with status {returncode}:\n{stderr.strip()}")
        self.returncode = returncode
        self.stderr = stderr


class ApiRefused(LocalClusterError):
    """An error answer of the API server to a call of ours (not kubectl's)."""

    def __init__(self, method: str, path: str, status: int, message: str) -> None:
        super().__init__(f"{method} {path} was answered with {status}: {message}")
        self.status = status
        self.message = message


class QueryFailed(LocalClusterError):
    """Prometheus' own words about a query that it can't answer."""
