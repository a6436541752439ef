"""`start_with_gpu_management.sh` as a person or a supervisor starts it."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from tests.waiting import until

from .serving_process import PROJECT, Serving, environment

SCRIPT = Path(__file__).parents[3] / "modelserver" / "start_with_gpu_management.sh"
FILE = 'app = "studio:create_app"\ndevice = "sim:1MiB"\n'
MODELS = '[models]\ntts = "studio:load_tts"\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "studio.py").write_text(PROJECT)
    (tmp_path / "dormouse.toml").write_text(FILE + MODELS)
    return tmp_path


class Started(Serving):
    def command(self, *arguments: str) -> list[str]:
        return [str(SCRIPT), *arguments]


def start(project: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """For what ends by itself."""
    set_ = {name: value for name, value in environment(project, **more).items() if value != ""}
    return subprocess.run([str(SCRIPT)], env=set_, capture_output=True, text=True, timeout=60, check=False)


NEEDED = {"PORT": "7999", "GPU_IDLE_TIMEOUT": "600", "DORMOUSE_PYTHON": sys.executable}


def test_it_serves_the_project_and_becomes_the_server(project: Path) -> None:
    with Started(project, GPU_IDLE_TIMEOUT="600", DORMOUSE_PYTHON=sys.executable) as server:
        until(lambda: "page http" in server.log)
        assert "GPU management enabled" in server.log
        assert "GPU 管理已启用" in server.log
        assert "idle timeout 600 s, unload timeout never, after task offload" in server.log
        assert f"page http://127.0.0.1:{server.port}/dormouse/" in server.log
        answers: list[httpx.Response] = []
        request = threading.Thread(target=lambda: answers.append(server.get("/slow")))
        request.start()
        until(lambda: "BEGAN" in server.log)
        assert server.stop() == 0, "SIGTERM to the script is SIGTERM to the server"
        request.join(20)
        assert answers[0].json() == "done", "a running request is answered before it ends"


@pytest.mark.parametrize(
    ("file", "variables", "shown"),
    [
        pytest.param('after-task = "keep"\n' + FILE + MODELS, {}, "after task keep", id="told by the file"),
        pytest.param(FILE + MODELS, {"GPU_AFTER_TASK": "keep"}, "after task keep", id="told by the environment"),
        pytest.param(
            FILE + '[models.tts]\nload = "studio:load_tts"\nafter-task = "keep"\n',
            {},
            "after task offload",
            id="a model's own is not the server's",
        ),
    ],
)
def test_offload_after_each_task_unless_told_otherwise(
    project: Path, file: str, variables: dict[str, str], shown: str
) -> None:
    (project / "dormouse.toml").write_text(file)
    with Started(project, GPU_IDLE_TIMEOUT="600", DORMOUSE_PYTHON=sys.executable, **variables) as server:
        until(lambda: "page http" in server.log)
        assert shown in server.log


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        pytest.param({"PROJECT_DIR": ""}, "PROJECT_DIR is not set. Write your project's folder", id="no project"),
        pytest.param({"PROJECT_DIR": "/nowhere"}, "'/nowhere', which is no folder", id="no folder"),
        pytest.param({"PORT": ""}, "PORT is not set. Write the port", id="no port"),
        pytest.param({"GPU_IDLE_TIMEOUT": ""}, "GPU_IDLE_TIMEOUT is not set. Write the idle seconds", id="no timeout"),
        pytest.param({"PORT": "http"}, "PORT is 'http'; write a port number", id="a port that is none"),
        pytest.param({"GPU_IDLE_TIMEOUT": "10m"}, "write seconds without a unit: 600", id="a unit"),
        pytest.param({"DORMOUSE_PYTHON": "false"}, "false has no dormouse. Install it:", id="Python without us"),
        pytest.param({"DORMOUSE_PYTHON": "/no/python"}, "which can't be run", id="no Python"),
    ],
)
def test_what_is_missing_or_wrong_is_told_in_one_sentence(project: Path, variables: dict[str, str], says: str) -> None:
    ended = start(project, **{**NEEDED, **variables})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert says in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_project_without_anything_to_serve_is_told_what_to_write(project: Path) -> None:
    (project / "dormouse.toml").unlink()
    ended = start(project, **NEEDED)
    assert ended.returncode == 2
    assert 'has no dormouse.toml. Write one with the line\n  app = "my_app.server:create_app"' in ended.stderr


def python_that(directory: Path, does: str) -> None:
    (directory / "bin").mkdir(parents=True)
    (directory / "bin" / "python").write_text(f"#!/bin/sh\n{does}\n")
    (directory / "bin" / "python").chmod(0o755)


@pytest.mark.parametrize("venv", [".venv", "venv"])
def test_the_projects_own_environment_is_used(project: Path, venv: str) -> None:
    python_that(project / venv, 'test "$1" = -c || echo "mine: $* in $PWD, after task $GPU_AFTER_TASK"')
    python_that(project / "active", "echo another")
    ended = start(project, **{**NEEDED, "DORMOUSE_PYTHON": "", "VIRTUAL_ENV": str(project / "active")})
    assert ended.stdout == f"mine: -m dormouse_modelserver.cli serve in {project}, after task offload\n"


def test_the_active_environment_is_used_when_the_project_has_none(project: Path) -> None:
    python_that(project / "active", 'test "$1" = -c || echo "active: $*"')
    ended = start(project, **{**NEEDED, "DORMOUSE_PYTHON": "", "VIRTUAL_ENV": str(project / "active")})
    assert ended.stdout == "active: -m dormouse_modelserver.cli serve\n"


def test_an_environment_of_the_project_without_dormouse_is_not_passed_over(project: Path) -> None:
    python_that(project / ".venv", "exit 1")
    ended = start(project, **{**NEEDED, "DORMOUSE_PYTHON": ""})
    assert ended.returncode == 2
    assert f"the project's environment {project}/.venv has no dormouse. Install it: " in ended.stderr


def test_help_shows_what_is_needed_and_examples() -> None:
    shown = subprocess.run(
        [str(SCRIPT), "--help"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    ).stdout
    for needed in ("PROJECT_DIR", "PORT", "GPU_IDLE_TIMEOUT", "GPU_AFTER_TASK", "examples:"):
        assert needed in shown
