"""Where the settings of `serve` come from: option, environment, file, default, in this order."""

import argparse
from pathlib import Path

import pytest
from dormouse_modelserver import ConfigurationError
from dormouse_modelserver.serve_settings import ServeSettings, add_serve_arguments, resolve


def settings(project: Path, *arguments: str, file: str = "", **environment: str) -> ServeSettings:
    (project / "dormouse.toml").write_text(file)
    parser = argparse.ArgumentParser()
    add_serve_arguments(parser)
    given = parser.parse_args(["--app", "a:create", *arguments])
    return resolve(given, {"PROJECT_DIR": str(project), **environment})


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


def test_an_option_beats_the_environment(tmp_path: Path) -> None:
    found = settings(tmp_path, "--idle-timeout", "0", "--port", "9002", file=FILE, GPU_IDLE_TIMEOUT="40", PORT="9001")
    assert (found.idle_timeout, found.port) == (0, 9002)


def test_models_of_the_file_and_of_options_add_up_and_options_win(tmp_path: Path) -> None:
    found = settings(tmp_path, "--model", "tts=mine:load", file='[models]\ntts = "file:load"\nasr = "file:load_asr"\n')
    assert found.models == {"tts": "mine:load", "asr": "file:load_asr"}


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
        ((), "idle_timeout = 1", {}, "unknown setting 'idle_timeout'; known are after-task, app"),
        ((), "models = 5", {}, "models is no table"),
        ((), "[models]\ntts = 5", {}, "dormouse.toml: models.tts is 5; write"),
        ((), "app = 5", {}, "dormouse.toml: app is 5; write"),
    ],
)
def test_a_mistake_names_its_source_and_what_to_write(
    tmp_path: Path, arguments: tuple[str, ...], file: str, environment: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings(tmp_path, *arguments, file=file, **environment)
    assert says in str(refused.value)
