"""Where each word that travels must be known: for each enumeration its places, and whether a word is there.

A place is a name for people and a predicate on the word. It reads the artefact itself (the CRD, a page as it is served,
a server's own metrics), never the enumeration, so that a new member fails until somebody has put it there.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cache
from pathlib import Path

import httpx
import torch
import yaml
from dormouse_contract import Mode, RequestOutcome, Residency, TransitionOutcome, Trigger, metrics
from dormouse_contract.metrics import Metric
from dormouse_contract.ports import Port
from dormouse_contract.problems import ProblemReason
from dormouse_modelserver import ResidencyManager
from dormouse_modelserver.lifecycle.registry import NotReady
from dormouse_operator.telemetry import Telemetry
from dormouse_webkit.pages import page_of
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, generate_latest

ROOT = Path(__file__).parents[2]
PAGES = {"panel": "dormouse_modelserver.server.panel", "console": "dormouse_console"}
Place = tuple[str, Callable[[str], bool]]


def places_of(kind: type[Enum]) -> list[Place]:
    return list(_PLACES[kind]())


def _residency() -> Iterator[Place]:
    yield "CRD: spec.residency", _in_crd("spec", "residency")
    yield "CRD: status.residency", _in_crd("status", "residency")
    yield "CRD: status.desiredResidency", _in_crd("status", "desiredResidency")
    yield "CRD: status.lastTransition.from", _in_crd("status", "lastTransition", "from")
    yield "CRD: status.lastTransition.to", _in_crd("status", "lastTransition", "to")
    yield from _said_by_both_pages("state")
    yield from _said_by_both_pages("tier")
    yield "kit: a sign in words.js", lambda word: f"{word}: " in _between(_page("panel", "words.js"), "SIGNS = {", "}")
    yield "console: a colour in console.css", lambda word: f".tier-{word} " in _page("console", "console.css")
    yield "console: the key of timeline.js", lambda word: f'"{word}"' in _line(_page("console", "timeline.js"), "TIERS")
    yield _help(metrics.RESIDENCY)
    yield _help(metrics.MANAGED_MODELS)
    yield "model server: a series of its residency", lambda word: _series("dormouse_model_residency", residency=word)
    yield "operator: a series of its ManagedModels", lambda word: f'managed_models{{residency="{word}"}}' in _operator()
    yield _docs("concepts.md")
    yield _docs("metrics.md")
    yield from _reference("managedmodel.md", "control-api.md")


def _trigger() -> Iterator[Place]:
    yield "CRD: status.lastTransition.trigger", _in_crd("status", "lastTransition", "trigger")
    yield from _said_by_both_pages("trigger")
    yield _help(metrics.TRANSITIONS)
    yield "model server: a transition counted", lambda word: _series("dormouse_transitions_total", trigger=word)
    yield _docs("concepts.md")
    yield _docs("metrics.md")
    yield from _reference("managedmodel.md", "control-api.md")


def _transition_outcome() -> Iterator[Place]:
    yield from _said_by_both_pages("outcome")
    yield _help(metrics.TRANSITIONS)
    yield _docs("concepts.md")
    yield _docs("metrics.md")
    yield from _reference("control-api.md")


def _request_outcome() -> Iterator[Place]:
    yield _help(metrics.REQUESTS)
    yield "model server: a series from the start", lambda word: _series("dormouse_model_requests_total", outcome=word)
    yield _docs("metrics.md")


def _not_ready() -> Iterator[Place]:
    yield from _said_by("panel", "notReady")


def _mode() -> Iterator[Place]:
    yield "CRD: spec.mode", _in_crd("spec", "mode")
    yield from _said_by("console", "mode")
    yield from _reference("managedmodel.md")


def _problem_reason() -> Iterator[Place]:
    yield "a server that gives it", lambda word: _has_word(_all_of("modelserver", "*.py"), _constant(word))
    yield "docs/failure-modes.md: the table", lambda word: f"\n| `{word}` |" in _text("docs/failure-modes.md")
    yield from _reference("control-api.md")


def _port() -> Iterator[Place]:
    yield "charts", lambda word: _has_word(_all_of("charts", "*.yaml", "*.tpl", "*.txt"), word)
    yield "images: EXPOSE", lambda word: any(_has_word(line, word) for line in _exposed())
    yield "docs/images.md", lambda word: _has_word(_text("docs/images.md"), word)
    yield "docs/security.md: the table of ports", lambda word: _has_word(_table_of_ports(), word)
    yield "docs/settings.md: a default", _default("docs/settings.md", "| `{}` | port |")
    yield "docs/reference/commands.md: a default", _default("docs/reference/commands.md", "default {}")


_PLACES: dict[type[Enum], Callable[[], Iterator[Place]]] = {
    Residency: _residency,
    Trigger: _trigger,
    TransitionOutcome: _transition_outcome,
    RequestOutcome: _request_outcome,
    Mode: _mode,
    ProblemReason: _problem_reason,
    Port: _port,
    NotReady: _not_ready,
}


def _said_by_both_pages(family: str) -> Iterator[Place]:
    for page in PAGES:
        yield from _said_by(page, family)


def _said_by(page: str, family: str) -> Iterator[Place]:
    for language, sentences in json.loads(_page(page, "strings.json")).items():
        yield (
            f"{page}: {family}… in {language}",
            lambda word, known=sentences: f"{family}{word[0].upper()}{word[1:]}" in known,
        )


def _in_crd(*path: str) -> Callable[[str], bool]:
    schema = yaml.safe_load(_text("crds/managedmodel.yaml"))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for name in path:
        schema = schema["properties"][name]
    allowed = schema["enum"]
    return lambda word: word in allowed


def _help(metric: Metric) -> Place:
    return f"help of {metric.name}", lambda word: f"`{word}`" in metric.help


def _docs(page: str) -> Place:
    return f"docs/{page}", lambda word: f"`{word}`" in _text(f"docs/{page}")


def _reference(*pages: str) -> Iterator[Place]:
    for page in pages:
        yield _docs(f"reference/{page}")


def _series(name: str, **labels: str) -> bool:
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return any(line.startswith(f"{name}{{") and all(one in line for one in wanted) for line in _model_server())


@cache
def _model_server() -> list[str]:
    """The metrics of a server whose model was moved for each reason that there is."""
    residency = ResidencyManager("sim:1MiB")
    model = residency.register("tts", load=_weights)
    for trigger in Trigger:
        for there in (Residency.GPU, Residency.UNLOADED):
            model.move_to(there, trigger=trigger)
    app = FastAPI()
    residency.install(app)
    try:
        return asyncio.run(_read(app, "/dormouse/metrics")).splitlines()
    finally:
        residency.close()


async def _read(app: FastAPI, path: str) -> str:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
        return (await http.get(path)).raise_for_status().text


def _weights() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Linear(4, 4)


def _default(path: str, words: str) -> Callable[[str], bool]:
    """Of the command, or of the chart, which sets what the command leaves off."""
    return lambda word: any(each.format(word) in _text(path) for each in (words, "{} in the chart"))


@cache
def _operator() -> str:
    registry = CollectorRegistry()
    Telemetry(registry)
    return generate_latest(registry).decode()


@cache
def _page(page: str, name: str) -> str:
    return page_of(PAGES[page]).files[name].content.decode()


@cache
def _text(path: str) -> str:
    return (ROOT / path).read_text()


@cache
def _all_of(folder: str, *patterns: str) -> str:
    return "\n".join(file.read_text() for pattern in patterns for file in sorted((ROOT / folder).rglob(pattern)))


def _exposed() -> list[str]:
    return re.findall(r"^EXPOSE .+$", _all_of("images", "Containerfile"), re.MULTILINE)


def _table_of_ports() -> str:
    return _between(_text("docs/security.md"), "## Ports", "Who may change residency")


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", text) is not None


def _between(text: str, start: str, end: str) -> str:
    return text.partition(start)[2].partition(end)[0]


def _line(text: str, start: str) -> str:
    return _between(text, start, "\n")


def _constant(word: str) -> str:
    """Of the reason that travels as `word`."""
    return "ProblemReason." + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word).upper()
