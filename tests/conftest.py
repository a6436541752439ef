"""The real control plane for every test that asks for it, and who shares one when tests run side by side."""

from pathlib import Path

import pytest

pytest_plugins = ["localcluster.pytest_fixtures"]

# These share one expensive stage (cluster, operator, model servers), so they stay on one worker.
_TOGETHER = {"loop", "monitoring", "console"}


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file stays on one worker; a folder that shares a stage does as a whole (`--dist loadgroup`)."""
    root = Path(__file__).parent
    for item in items:
        path = item.path.relative_to(root)
        group = path.parts[0] if path.parts[0] in _TOGETHER else str(path)
        item.add_marker(pytest.mark.xdist_group(group))
