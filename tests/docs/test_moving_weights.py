"""The page on moving weights knows every argument of `register` that is about them, with its real default."""

import inspect

from dormouse_modelserver import ResidencyManager

from .pages import code, read, rows

# What the page on settings explains.
_TIMERS = {"idle_timeout", "unload_timeout", "after_task", "turn"}


def test_each_argument_is_explained_with_its_default() -> None:
    parameters = inspect.signature(ResidencyManager.register).parameters
    real = {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY and name not in _TIMERS}
    listed = {
        code(row["argument"])[0]: row["default"] for row in rows(read("moving-weights.md"), "argument", "default")
    }
    assert listed.keys() == real.keys()
    for name, default in real.items():
        shown = code(listed[name])
        assert shown == [] if default is None else shown == [repr(default).replace("'", '"')], name
