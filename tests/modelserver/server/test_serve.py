"""`dormouse-modelserver serve` as a user runs it: a real process, its log, its answers and how it ends."""

import signal
import threading
from pathlib import Path

import httpx
from dormouse_modelserver.command import serving

from tests.waiting import until

from .serving_process import Serving


def test_the_main_job_from_start_to_end(project: Path) -> None:
    with Serving(
        project,
        *("--model", "tts=studio:load_tts", "--app", "studio:create_app", "--device", "sim:1MiB"),
        GPU_IDLE_TIMEOUT="0.5",
    ) as server:
        until(lambda: "GPU management enabled" in server.log)
        assert "GPU 管理已启用" in server.log
        assert "device sim:1MiB (simulated, no GPU), memory 0.0009766 GiB; idle timeout 0.5 s" in server.log
        assert f"page {server.url}/dormouse/" in server.log
        until(lambda: "ready: requests are taken" in server.log)
        assert "LOADED" not in server.log, "start-up loads nothing"
        assert server.get("/dormouse/v1/models/tts").json()["residency"] == "Unloaded"
        assert server.get("/readyz").status_code == server.get("/healthz").status_code == 200

        assert server.get("/say/4").json() == 9
        until(lambda: server.get("/dormouse/v1/models/tts").json()["residency"] == "CPU")
        assert server.get("/say/5").json() == 11
        assert server.log.count("LOADED") == 1
        assert "dormouse_model_residency" in server.get("/metrics").text

        put = httpx.put(f"{server.url}/dormouse/v1/models/tts/residency", json={"desired": "Unloaded"})
        assert put.json()["residency"] == "Unloaded", "loopback needs no token"
        rebound = httpx.put(
            f"{server.url}/dormouse/v1/models/tts/residency", json={"desired": "GPU"}, headers={"Host": "evil.example"}
        )
        assert (rebound.status_code, rebound.json()["reason"]) == (403, "NotAuthorised")
        answers: list[httpx.Response] = []
        request = threading.Thread(target=lambda: answers.append(server.get("/slow")))
        request.start()
        until(lambda: "BEGAN" in server.log)
        assert server.stop() == 0, server.log
        assert "stopping: running requests are answered first" in server.log
        request.join(20)
        assert answers[0].json() == "done", "a running request is answered before it ends"
    assert "Traceback" not in server.log


def test_preloaded_it_is_ready_when_its_models_are_loaded_and_unloads_them_at_the_end(project: Path) -> None:
    model = ("--model", "tts=studio:load_tts", "--app", "studio:create_app", "--device", "sim:1MiB")
    with Serving(project, *model, "--preload") as server:
        until(lambda: server.get("/readyz").status_code == 200)
        until(lambda: "ready: the models are loaded" in server.log)
        snapshot = server.get("/dormouse/v1/models/tts").json()
        assert (snapshot["residency"], snapshot["lastTransition"]["trigger"]) == ("CPU", "Startup")
        assert server.get("/say/4").json() == 9
        assert server.stop() == 0
        assert "GPU → Unloaded ok" in server.log
        assert "(Shutdown: the server stops)" in server.log


def test_a_preload_that_fails_is_never_ready(project: Path) -> None:
    (project / "broken.py").write_text("def load():\n    raise OSError('no such file')\n")
    with Serving(project, "--model", "tts=broken:load", "--device", "sim", "--preload") as server:
        until(lambda: "not ready: a model could not be loaded at start" in server.log)
        not_ready = server.get("/readyz")
        assert (not_ready.status_code, not_ready.json()["title"]) == (503, "Not ready: a load failed")
        assert "the log says why" in not_ready.json()["detail"]
        assert server.get("/healthz").status_code == 200


def test_a_stop_while_torch_loads_ends_in_order(project: Path) -> None:
    """A thread inside torch while Python takes itself apart would end the process with SIGABRT."""
    (project / "heavy.py").write_text(
        "import time, torch\n"
        "def load():\n"
        "    print('BEGAN', flush=True)\n"
        "    until = time.monotonic() + 60\n"
        "    while time.monotonic() < until:\n"
        "        torch.ones(400, 400) @ torch.ones(400, 400)\n"
        "    return torch.nn.Linear(2, 2)\n"
    )
    with Serving(project, "--model", "tts=heavy:load", "--device", "sim", "--preload") as server:
        until(lambda: "BEGAN" in server.log)
        until(lambda: "requests are taken" in server.log)
        assert server.stop() == 0, server.log
    assert "not unloaded before the end of the process" in server.log
    assert "terminate called" not in server.log


def test_who_asks_again_to_stop_waits_for_no_unload() -> None:
    class Slow:
        def unload_all(self, within_seconds: float) -> None:
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("it went on")

    before = signal.getsignal(signal.SIGINT)
    serving._unload(Slow())  # type: ignore[arg-type]
    assert signal.getsignal(signal.SIGINT) is before


def test_the_apps_own_metrics_win_and_an_interrupt_ends_it_too(project: Path) -> None:
    app = "studio:create_app_with_metrics"
    with Serving(project, "--model", "tts=studio:load_tts", "--app", app, "--device", "sim") as server:
        assert server.get("/metrics").text == "mine 1\n"
        assert "dormouse_model_residency" in server.get("/dormouse/metrics").text
        assert server.get("/readyz").status_code == server.get("/healthz").status_code == 200
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 0


def test_an_app_whose_own_start_fails_ends_with_status_1(project: Path) -> None:
    (project / "falls.py").write_text(
        "from contextlib import asynccontextmanager\nfrom fastapi import FastAPI\n"
        "@asynccontextmanager\nasync def lifespan(app):\n    raise OSError('no database')\n    yield\n"
        "def create_app(residency):\n    return FastAPI(lifespan=lifespan)\n"
    )
    server = Serving(project, "--app", "falls:create_app", "--device", "sim")
    assert server.process.wait(120) == 1
    server.__exit__(None, None, None)
    assert "no database" in server.log
    assert "the app's own start-up failed" in server.log
    assert "requests are taken" not in server.log
