"""The real control plane, for every test that asks for it."""

pytest_plugins = ["localcluster.pytest_fixtures"]
