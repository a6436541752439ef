"""The defaults that more than one side has: seconds, unless a name says otherwise. Python takes them from here.

What can't import this (the CRD, the chart's values, the console's page, pages written by hand) is compared with it
by `tests/contract/test_defaults.py`. Two that differ on purpose have two names here, with the reason. A default that
one command alone has stays in that command's settings.
"""

from typing import Literal

MIN_RESIDENT_SECONDS = 60.0
"""A ManagedModel's `policy.minResidentSeconds`: after a wake, no demotion by the ladder before."""

SERVER_MIN_RESIDENT_SECONDS = 0.0
"""The same of a server by itself: its clock is exact, so a short idle timeout given to it is meant as it is."""

WAKE_BUDGET_SECONDS = 30.0
"""So long a request may wait for a wake, whoever decides: `policy.wakeBudgetSeconds`, and a server by itself."""

TURN_SECONDS = 10.0
"""So long a model that lacks room waits for one that is never at rest, before that one is drained."""

SERVE_IDLE_TIMEOUT_SECONDS = 600.0
"""`dormouse-modelserver serve --idle-timeout`. The library has none: an app's weights move only when it asks for that.
Nor has a ManagedModel, whose ladder is never without `offloadAfterSeconds`."""

AFTER_TASK: Literal["keep", "offload"] = "keep"
"""A word. When a task ends the weights stay until the idle timeout: the next task may be near."""

START_SCRIPT_AFTER_TASK: Literal["keep", "offload"] = "offload"
"""The same of `start_with_gpu_management.sh`: who starts a service by it wants the GPU free between its tasks."""

MAX_WAITING = 1024
"""So many uses may wait for one model's wake; the next is refused at once. Not seconds."""

SCRAPE_INTERVAL_SECONDS = 15.0
"""How often Prometheus is taken to scrape the sidecars; freshness and the line to local timers follow from it."""

TICK_SECONDS = 15.0
"""How often the operator looks at the fleet when nothing happens."""
