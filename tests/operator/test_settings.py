"""What the flags of `dormouse-operator run` make of nothing, and of what makes no sense."""

from __future__ import annotations

from dataclasses import MISSING, fields

import pytest
from dormouse_operator import cli
from dormouse_operator.errors import SettingsError
from dormouse_operator.keys.settings import KeySettings
from dormouse_operator.leadership.settings import LeaseSettings
from dormouse_operator.settings import Settings


def settings(*flags: str) -> Settings:
    environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    return cli._settings(cli._parser(environment).parse_args(["run", *flags]), environment)


def test_without_flags_each_setting_has_the_default_that_the_settings_say() -> None:
    made = settings()
    assert made.key == KeySettings()
    assert made.lease == LeaseSettings()
    defaults = {each.name: each.default for each in fields(Settings) if each.default is not MISSING}
    assert {name: getattr(made, name) for name in defaults} == defaults


@pytest.mark.parametrize(
    "flag",
    [
        "--metrics-port=9744.5",
        "--metrics-port=nan",
        "--control-port=inf",
        "--control-port=-1",
        "--lease-duration=inf",
        "--lease-duration=nan",
        "--lease-duration=1.5",
        "--lease=maybe",
        "--key-source=nobody",
        "--key-overlap=soon",
        "--tick=inf",
    ],
)
def test_what_makes_no_sense_is_refused_by_the_name_of_the_flag(flag: str) -> None:
    with pytest.raises(SettingsError, match=flag.partition("=")[0]):
        settings(flag)
