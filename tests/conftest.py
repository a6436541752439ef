"""The real control plane for every test that asks for it, and who shares one when tests run side by side."""

import logging
from collections.abc import Generator
from pathlib import PurePosixPath

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["localcluster.pytest_fixtures"]

# How long an example takes says what else the machine does, not whether the property holds.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# These share one expensive stage (cluster, operator, model servers), so they stay on one worker.
TOGETHER = {"loop", "monitoring", "console"}
# Each test of these brings its own processes and waits for them, so they are spread.
APART = {"operator/test_high_availability.py", "simulation/test_a_day_of_faults.py"}
# What takes longest begins first, so that nobody waits for it alone at the end.
FIRST = (
    "console",
    "monitoring",
    "loop",
    "operator/test_high_availability.py",
    "gpu_kit/test_a_run_without_a_gpu.py",
    "simulation",
    "operator",
    "chart",
    "modelserver/panel",
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """A command that a test calls sets the levels of logs for its process, which goes on to other tests here."""
    levels = {each: each.level for each in _loggers()}
    result = yield
    for each in _loggers():
        if each.level != levels.get(each, logging.NOTSET):
            each.setLevel(levels.get(each, logging.NOTSET))
    return result


def _loggers() -> list[logging.Logger]:
    known = logging.root.manager.loggerDict.values()
    return [logging.root, *(each for each in known if isinstance(each, logging.Logger))]


class Scheduling(LoadScopeScheduling):
    """A file stays on one worker; a folder that shares a stage does as a whole."""

    def _split_scope(self, nodeid: str) -> str:
        path = _within_tests(nodeid)
        if path.as_posix() in APART:
            return nodeid
        return path.parts[0] if path.parts[0] in TOGETHER else path.as_posix()


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    # By its own measure it would begin with what has most tests, which are the short ones.
    config.option.loadscopereorder = False
    return Scheduling(config, log)  # type: ignore[arg-type]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _turn(_within_tests(item.nodeid)))


def _turn(path: PurePosixPath) -> int:
    return next((turn for turn, folder in enumerate(FIRST) if path.is_relative_to(folder)), len(FIRST))


def _within_tests(nodeid: str) -> PurePosixPath:
    path = PurePosixPath(nodeid.partition("::")[0])
    return path.relative_to("tests") if path.is_relative_to("tests") else path
