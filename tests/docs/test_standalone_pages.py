"""What the standalone pages tell to type is there: options, variables, files that are accepted, code that runs."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from dormouse_contract.wire import ModelAdvice, ReplayedTimeout
from dormouse_modelserver import ResidencyManager
from dormouse_modelserver.command.announcement import lines
from dormouse_modelserver.command.serve_settings import ServeSettings
from dormouse_modelserver.command.settings_file import MODEL_KEYS, read_settings_file
from dormouse_modelserver.lifecycle.history.advice import suggest
from fastapi import FastAPI

from examples.speech_server import create_app

from .pages import DOCS, code, read, rows
from .test_settings_reference import flags, serve

ROOT = DOCS.parent
EXAMPLES = ROOT / "examples" / "README.md"
PAGES = [*(DOCS / f"{name}.md" for name in ("standalone", "faq", "settings")), EXAMPLES, ROOT / "README.md"]
SCRIPT = ROOT / "modelserver" / "start_with_gpu_management.sh"


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of this language, "" for those that name none."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for named, text in fences if named == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_option_of_serve_that_is_shown_exists(page: Path) -> None:
    shown = re.findall(r"(?:modelserver serve|start_with_gpu_management\.sh)([^`\n]*)", page.read_text())
    options = {option for line in shown for option in re.findall(r"--[a-z-]+", line)}
    assert options <= {flag for flag, _ in flags(serve())}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_variable_that_is_shown_is_in_the_settings(page: Path) -> None:
    known = set(re.findall(r"`((?:GPU|DORMOUSE)_[A-Z_]+)`", read("settings.md")))
    assert set(re.findall(r"\b(?:GPU|DORMOUSE)_[A-Z_]+\b", page.read_text())) <= known


@pytest.mark.parametrize("page", [DOCS / "standalone.md", DOCS / "settings.md"], ids=lambda page: page.name)
def test_each_file_that_is_shown_is_accepted(page: Path, tmp_path: Path) -> None:
    known = [flag.removeprefix("--") for flag, _ in flags(serve())]
    shown = blocks(page, "toml")
    assert shown
    for number, text in enumerate(shown):
        (tmp_path / f"{number}.toml").write_text(text)
        assert read_settings_file(tmp_path / f"{number}.toml", known).models


def test_the_table_of_a_models_keys_is_complete() -> None:
    assert tuple(code(row["key of `[models.NAME]`"])[0] for row in _model_rows()) == MODEL_KEYS


def _model_rows() -> Iterator[dict[str, str]]:
    return rows(read("settings.md"), "key of `[models.NAME]`", "default", "unit")


def test_the_start_scripts_variables_are_those_of_its_help() -> None:
    written = {code(row["variable"])[0] for row in rows(read("settings.md"), "variable", "needed", "default")}
    told = set(re.findall(r"^  ([A-Z_]+)  ", SCRIPT.read_text(), re.MULTILINE))
    assert written == told


def test_the_advice_table_is_the_codes() -> None:
    table = {row["uses a minute"]: code(row["suggested idle timeout"])[0] for row in _advice_rows()}
    assert table == {"more than 10": "never", "1 to 10": "600", "fewer than 1": "1800"}
    assert [suggest(rate) for rate in (11, 10, 1, 0.9)] == [float("inf"), 600, 600, 1800]
    for field in ("replayed", "current"):
        assert field in ModelAdvice.model_fields or field in ReplayedTimeout.model_fields


def _advice_rows() -> Iterator[dict[str, str]]:
    return rows(read("standalone.md"), "uses a minute", "suggested idle timeout")


def load_tts() -> torch.nn.Module:
    return torch.nn.Linear(4, 4).eval()


@pytest.fixture
def names() -> Iterator[dict[str, Any]]:
    """What the snippets take for granted."""
    managers: list[ResidencyManager] = []

    def manager(device: str, **settings: Any) -> ResidencyManager:
        managers.append(ResidencyManager(device, socket="", **settings))
        return managers[-1]

    yield {"torch": torch, "FastAPI": FastAPI, "load_tts": load_tts, "ResidencyManager": manager}
    for made in managers:
        made.close()


def client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")


async def test_the_examples_for_an_app_that_you_have_run(names: dict[str, Any]) -> None:
    runnable = [block for block in blocks(EXAMPLES, "python") if "gradio" not in block]
    assert len(runnable) == 2
    for block in runnable:
        exec(compile(block, str(EXAMPLES), "exec"), names)  # noqa: S102 - the page's own code is what is tested
    async with client(names["app"]) as http:
        assert len((await http.get("/say?text=a")).json()) == 4
        assert isinstance((await http.get("/score?text=a")).json(), float)
        assert (await http.get("/dormouse/v1/models")).status_code == 200
    assert len([item async for item in names["stream"]("abc")]) == 3


def test_the_log_that_the_quick_start_shows_is_the_log_that_it_gives(names: dict[str, Any]) -> None:
    text = read("standalone.md")
    started = re.search(r"serve --app examples.speech_server:create_app --device (\S+) --idle-timeout (\d+)", text)
    assert started is not None
    manager = names["ResidencyManager"](started[1], idle_timeout=float(started[2]))
    create_app(manager)
    settings = ServeSettings({}, "a:b", float(started[2]), None, "keep", "127.0.0.1", 7860, started[1], Path())
    shown = next(block for block in blocks(DOCS / "standalone.md", "") if "GPU 管理已启用" in block)
    assert shown.splitlines()[1:6] == list(lines(settings, manager))


async def test_what_the_standalone_page_says_to_serve_runs(names: dict[str, Any]) -> None:
    (block,) = blocks(DOCS / "standalone.md", "python")
    exec(compile(block, "standalone.md", "exec"), names)  # noqa: S102
    manager = names["ResidencyManager"]("sim:1MiB")
    manager.register("tts", load=names["load_tts"])
    async with client(names["create_app"](manager)) as http:
        assert len((await http.get("/say?text=a")).json()) == 4


def test_the_gradio_example_is_python() -> None:
    (block,) = [block for block in blocks(EXAMPLES, "python") if "gradio" in block]
    compile(textwrap.dedent(block), "README.md", "exec")
