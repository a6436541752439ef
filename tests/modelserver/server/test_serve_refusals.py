"""What `serve` says when it can't: one sentence that tells what to do, and exit status 2."""

import socket
import sys
from pathlib import Path

import pytest
from dormouse_modelserver.cli import main

from .serving_process import PROJECT, free_port

TTS = ("--model", "tts=studio:load_tts")
SIM = ("--device", "sim")

APPS = """
def raises(residency):
    return {}["voice"]
def none(residency):
    app = print
async def later(residency):
    return print
def number(residency):
    return 5
def wsgi(residency):
    return lambda environ, start_response: []
def greedy(residency, voice):
    return print
def wrong_model(residency):
    residency.register("TTS", load=print)
def create_app(residency):
    return print
"""
MISTAKES = {
    "apps": APPS,
    "needy": "import not_to_be_had",
    "crooked": "def create_app(:",
    "broken": "x = 1\nx / 0",
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in {"studio": PROJECT, **MISTAKES}.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setenv("PROJECT_DIR", str(tmp_path))
    monkeypatch.setenv("PORT", str(free_port()))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "dormouse-modelserver serve --model tts=my_app.models:load_tts --idle-timeout 300" in shown
    for variable in ("GPU_IDLE_TIMEOUT", "GPU_UNLOAD_TIMEOUT", "GPU_AFTER_TASK", "PORT", "DORMOUSE_DEVICE"):
        assert variable in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(SIM, "there is nothing to serve; give --model", id="nothing to serve"),
        pytest.param((*SIM, "--model", "tts=nowhere:load"), "no module 'nowhere'", id="unknown module"),
        pytest.param((*SIM, "--model", "tts=studio:nothing"), "has no 'nothing'; name a function", id="no function"),
        pytest.param((*SIM, "--model", "tts=studio:not_callable"), "which can't be called", id="not callable"),
        pytest.param((*SIM, "--model", "tts=studio"), "write package.module:function", id="no colon"),
        pytest.param((*SIM, "--model", "TTS=studio:load_tts"), "write lower-case letters", id="bad name"),
        pytest.param((*SIM, *TTS, "--app", "studio:create_nothing"), "--app 'studio:create_nothing'", id="no app"),
        pytest.param(
            (*SIM, "--app", "needy:create_app"), "imports 'not_to_be_had', which is not", id="lacks a package"
        ),
        pytest.param((*SIM, "--app", "crooked:create_app"), "(crooked.py, line 1, column", id="syntax error"),
        pytest.param((*SIM, "--app", "broken:create_app"), "division by zero (broken.py, line 2)", id="raises"),
        pytest.param((*SIM, "--app", "apps:create_ap"), "did you mean 'create_app'?", id="nearly"),
        pytest.param((*SIM, "--app", "apps:raises"), "raised KeyError: 'voice' (apps.py, line 3)", id="app raises"),
        pytest.param((*SIM, "--app", "apps:none"), "returned None; end it with `return app`", id="app is None"),
        pytest.param((*SIM, "--app", "apps:later"), "returned a coroutine; write `def`", id="app is async"),
        pytest.param(
            (*SIM, "--app", "apps:number"), "returned int, which is no app; return an ASGI", id="app is a number"
        ),
        pytest.param((*SIM, "--app", "apps:wsgi"), "takes no (scope, receive, send)", id="app is WSGI"),
        pytest.param((*SIM, "--app", "apps:greedy"), "write def create_app(residency)", id="wants more"),
        pytest.param((*SIM, "--app", "apps:wrong_model"), "write lower-case letters", id="app registers badly"),
        pytest.param((*TTS, "--device", "cuda:7"), "device 'cuda:7': ", id="no such GPU"),
        pytest.param(
            (*TTS, "--device", "sim:1GiB@/proc"), "/proc is a folder; write the path", id="device in a folder"
        ),
        pytest.param((*TTS, "--device", "sim:1GiB@/proc/x"), "/proc/x can't be used", id="device not to be written"),
        pytest.param((*TTS, *SIM, "--idle-timeout", "10m"), "write seconds without a unit: 600", id="a unit"),
        pytest.param((*TTS, "--device", "tpu"), "device 'tpu' is not known; write 'auto'", id="no such device"),
        pytest.param((*TTS, *SIM, "--unload-timeout", "5"), "the unload must come later", id="wrong order"),
        pytest.param((*TTS, *SIM, "--host", "nowhere.invalid"), "on nowhere.invalid can't be used", id="no such host"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert main(["serve", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.splitlines()[-1].startswith("dormouse-modelserver: ")
    assert says in told


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", *TTS, *SIM, "--port", str(port)]) == 2
    assert f"port {port} on 127.0.0.1 can't be used" in capsys.readouterr().err


def test_a_bad_file_is_told_with_its_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "dormouse.toml").write_text('idle-timeout = 5\ndevice = = "sim"\n')
    assert main(["serve", *TTS]) == 2
    told = capsys.readouterr().err
    assert "dormouse.toml can't be read" in told
    assert "line 2" in told
