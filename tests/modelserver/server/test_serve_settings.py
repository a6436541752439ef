"""Where the settings of `serve` come from: option, environment, file, default, in this order."""

import argparse
import math
from pathlib import Path

import pytest
from dormouse_modelserver import ConfigurationError
from dormouse_modelserver.command.serve_settings import ModelSettings, ServeSettings, add_serve_arguments, resolve
from dormouse_modelserver.command.settings_file import read_settings_file


def settings(project: Path, *arguments: str, file: str = "", **environment: str) -> ServeSettings:
    (project / "dormouse.toml").write_text(file)
    parser = argparse.ArgumentParser()
    add_serve_arguments(parser)
    given = parser.parse_args(["--app", "a:create", *arguments])
    return resolve(given, {"PROJECT_DIR": str(project)} | environment)


FILE = 'idle-timeout = 30\nunload-timeout = "never"\nport = 9000\nafter-task = "offload"\ndevice = "sim"\n'


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert (found.idle_timeout, found.unload_timeout, found.after_task) == (600, None, "keep")
    assert (found.host, found.port, found.device) == ("127.0.0.1", 7860, "auto")


def test_the_file_beats_the_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path, file=FILE)
    assert (found.idle_timeout, found.port, found.after_task, found.device) == (30, 9000, "offload", "sim")


def test_the_environment_beats_the_file_and_an_empty_variable_is_none(tmp_path: Path) -> None:
    environment = {
        "GPU_IDLE_TIMEOUT": "40",
        "GPU_UNLOAD_TIMEOUT": "80",
        "GPU_AFTER_TASK": "keep",
        "PORT": "9001",
        "DORMOUSE_DEVICE": "",
    }
    found = settings(tmp_path, file=FILE, **environment)
    assert (found.idle_timeout, found.unload_timeout, found.after_task) == (40, 80, "keep")
    assert (found.port, found.device) == (9001, "sim")


def test_a_preload_is_asked_for_by_option_environment_or_file(tmp_path: Path) -> None:
    assert not settings(tmp_path).preload
    assert settings(tmp_path, "--preload").preload
    assert settings(tmp_path, DORMOUSE_PRELOAD="true").preload
    assert settings(tmp_path, file="preload = true\n").preload
    assert not settings(tmp_path, file="preload = true\n", DORMOUSE_PRELOAD="false").preload
    with pytest.raises(ConfigurationError, match="DORMOUSE_PRELOAD is 'yes'; write true or false"):
        settings(tmp_path, DORMOUSE_PRELOAD="yes")


def test_an_option_beats_the_environment(tmp_path: Path) -> None:
    found = settings(tmp_path, "--idle-timeout", "0", "--port", "9002", file=FILE, GPU_IDLE_TIMEOUT="40", PORT="9001")
    assert (found.idle_timeout, found.port) == (0, 9002)


def test_models_of_the_file_and_of_options_add_up_and_options_win(tmp_path: Path) -> None:
    found = settings(tmp_path, "--model", "tts=mine:load", file='[models]\ntts = "file:load"\nasr = "file:load_asr"\n')
    assert found.models == {"tts": ModelSettings("mine:load"), "asr": ModelSettings("file:load_asr")}


TABLE = """
idle-timeout = 30
[models]
asr = "m:asr"
[models.tts]
load = "m:tts"
idle-timeout = "never"
unload-timeout = 7200
after-task = "offload"
"""


def test_a_model_may_have_a_table_of_its_own_beside_the_short_form(tmp_path: Path) -> None:
    found = settings(tmp_path, file=TABLE)
    assert found.idle_timeout == 30
    assert found.models["asr"] == ModelSettings("m:asr"), "the server's own settings"
    assert found.models["tts"] == ModelSettings("m:tts", math.inf, 7200, "offload")


def test_a_turn_is_the_servers_unless_a_model_has_its_own(tmp_path: Path) -> None:
    file = "turn = 20\n[models]\nasr = 'm:asr'\n[models.tts]\nload = 'm:tts'\nturn = 'never'\n"
    found = settings(tmp_path, file=file)
    assert (found.turn, found.models["asr"].turn, found.models["tts"].turn) == (20, None, math.inf)
    assert settings(tmp_path, "--turn", "5", file=file, DORMOUSE_TURN="7").turn == 5
    assert settings(tmp_path, file=file, DORMOUSE_TURN="7").turn == 7


def test_an_option_replaces_the_load_of_a_model_and_its_table_stays(tmp_path: Path) -> None:
    found = settings(tmp_path, "--model", "tts=other:load", file=TABLE)
    assert found.models["tts"] == ModelSettings("other:load", math.inf, 7200, "offload")


def test_behind_a_sidecar_timeouts_default_to_never_and_explicit_ones_count(tmp_path: Path) -> None:
    behind = settings(tmp_path, DORMOUSE_SOCKET="/run/dormouse/model.sock")
    assert (behind.idle_timeout, behind.unload_timeout) == (None, None)
    explicit = settings(tmp_path, DORMOUSE_SOCKET="/run/dormouse/model.sock", GPU_IDLE_TIMEOUT="5")
    assert explicit.idle_timeout == 5


@pytest.mark.parametrize("never", ["never", "Never", " NEVER "])
def test_never_is_written_in_any_case(tmp_path: Path, never: str) -> None:
    assert settings(tmp_path, "--idle-timeout", never).idle_timeout is None


@pytest.mark.parametrize(
    ("arguments", "file", "environment", "says"),
    [
        ((), "", {"GPU_IDLE_TIMEOUT": "soon"}, "GPU_IDLE_TIMEOUT is 'soon'; write seconds"),
        ((), "", {"GPU_IDLE_TIMEOUT": "nan"}, "GPU_IDLE_TIMEOUT is 'nan'"),
        ((), "", {"GPU_IDLE_TIMEOUT": "inf"}, "GPU_IDLE_TIMEOUT is 'inf'"),
        ((), "", {"PORT": "http"}, "PORT is 'http'; write a port number"),
        ((), "", {"PORT": "65536"}, "from 1 to 65535"),
        ((), "", {"GPU_AFTER_TASK": "drop"}, "GPU_AFTER_TASK is 'drop'; write keep or offload"),
        (("--unload-timeout", "-1"), "", {}, "--unload-timeout is '-1'"),
        (("--model", "tts"), "", {}, "write NAME=package.module:function"),
        ((), "idle-timeout = [1]", {}, "dormouse.toml: idle-timeout is"),
        ((), "idle_timeout = 1", {}, "unknown setting 'idle_timeout'; did you mean 'idle-timeout'? Known are after"),
        ((), "colour = 1", {}, "unknown setting 'colour'; known are after-task, app"),
        ((), "model = 1", {}, "did you mean 'models'?"),
        ((), "models = 5", {}, "models is no table"),
        ((), "[models]\ntts = 5", {}, "dormouse.toml: models.tts is 5; write"),
        ((), "[models.tts]\nidle-timeout = 5", {}, "models.tts has no load; write load ="),
        ((), "[models.tts]\nload = 'm:f'\nidle-timout = 5", {}, "models.tts: unknown setting 'idle-timout'; did you"),
        ((), "[models.tts]\nload = 'm:f'\nidle-timeout = '1h'", {}, "models.tts.idle-timeout is '1h'; write seconds"),
        ((), "[models.tts]\nload = 'm:f'\nafter-task = 'x'", {}, "models.tts.after-task is 'x'; write keep or"),
        ((), "[models.tts]\nload = 'm:f'\nunload-timeout = 5", {}, "models.tts.unload-timeout is 5 s and default of"),
        ((), "[models.tts]\nload = 'm:f'\nidle-timeout = true", {}, "models.tts.idle-timeout is true; write a number"),
        ((), "port = 9000\nidle-timeout = = 5", {}, "(at line 2, column 16)"),
        ((), "", {"GPU_UNLOAD_TIMEOUT": "600"}, "GPU_UNLOAD_TIMEOUT is 600 s and default of --idle-timeout is 600 s"),
        ((), "", {"GPU_IDLE_TIMEOUT": "10m"}, "GPU_IDLE_TIMEOUT is '10m'; write seconds without a unit: 600"),
        ((), "", {"GPU_IDLE_TIMEOUT": "1.5 hours"}, "write seconds without a unit: 5400"),
        ((), "app = 5", {}, "dormouse.toml: app is 5; write"),
        ((), "", {"DORMOUSE_TURN": "0"}, "DORMOUSE_TURN is 0; write more than 0 seconds"),
        (
            (),
            "[models.tts]\nload = 'm:f'\nturn = '10s'",
            {},
            "models.tts.turn is '10s'; write seconds without a unit: 10",
        ),
    ],
)
def test_a_mistake_names_its_source_and_what_to_write(
    tmp_path: Path, arguments: tuple[str, ...], file: str, environment: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings(tmp_path, *arguments, file=file, **environment)
    assert says in str(refused.value)


def test_a_project_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"PROJECT_DIR is '.*/gone', which is no folder"):
        settings(tmp_path, PROJECT_DIR=str(tmp_path / "gone"))


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "dormouse.toml").write_bytes(b'app = "\xff"')
    with pytest.raises(ConfigurationError, match=r"dormouse.toml can't be read: it is not UTF-8 .byte 7.; save it"):
        read_settings_file(tmp_path / "dormouse.toml", [])
