"""What the standalone server promises, seen as a user sees it: over HTTP, in `/metrics` and in the log."""

import re
import time
from pathlib import Path

import pytest

from tests.waiting import until

from .serving_process import PROJECT, Serving

SERVE = ("--model", "tts=studio:load_tts", "--app", "studio:create_app", "--device", "sim:1MiB")
ON_THE_DEVICE = 'dormouse_process_gpu_memory_bytes{gpu_uuid="sim"}'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "studio.py").write_text(PROJECT)
    return tmp_path


def transitions(server: Serving) -> list[str]:
    return re.findall(r"model tts: (\S+ → \S+ \S+) in [\d.]+ s \((\w+)", server.log)


def test_start_up_puts_nothing_on_the_gpu(project: Path) -> None:
    with Serving(project, *SERVE) as server:
        assert server.metric(ON_THE_DEVICE) == 0
        assert server.metric('dormouse_model_residency{model="tts",residency="Unloaded"}') == 1
        assert "LOADED" not in server.log
        server.get("/say/1")
        assert server.metric(ON_THE_DEVICE) == 512, "the same figure sees weights that are there"


def test_a_task_ends_and_the_weights_leave_within_two_seconds_though_the_timeout_is_600(project: Path) -> None:
    with Serving(project, *SERVE, "--after-task", "offload", "--idle-timeout", "600") as server:
        for value in range(3):
            assert server.get(f"/say/{value}").json() == 2 * value + 1
            ended = time.monotonic()
            until(lambda: server.metric(ON_THE_DEVICE) == 0, 2)
            assert time.monotonic() - ended < 2
        assert server.residency() == "CPU", "kept in host RAM for a fast restore"
        assert server.log.count("LOADED") == 1
        last = server.get("/dormouse/v1/models/tts").json()["lastTransition"]
        assert (last["trigger"], last["releasedBytes"]) == ("AfterTask", 512)
        assert ("GPU → CPU ok", "AfterTask") in transitions(server)
        assert "in flight 0) · released 512 bytes\n" in server.log
        assert "signal" not in server.log, "it looks at its own clock"


def test_the_ladder_goes_down_in_two_steps_and_a_request_goes_up_again(project: Path) -> None:
    with Serving(project, *SERVE, "--idle-timeout", "0.4", "--unload-timeout", "1.2") as server:
        server.get("/say/1")
        until(lambda: server.residency() == "CPU")
        until(lambda: server.residency() == "Unloaded")
        assert server.get("/say/2").json() == 5
        until(lambda: len(transitions(server)) >= 4)  # the answer may come before the log has the line
        seen = transitions(server)
        assert seen[:4] == [
            ("Unloaded → GPU ok", "Demand"),
            ("GPU → CPU ok", "Idle"),
            ("CPU → Unloaded ok", "Idle"),
            ("Unloaded → GPU ok", "Demand"),
        ]
        for origin, to in (("GPU", "CPU"), ("CPU", "Unloaded")):
            series = f'dormouse_transitions_total{{from="{origin}",model="tts",outcome="ok",to="{to}",trigger="Idle"}}'
            assert server.metric(series) >= 1


def test_models_are_moved_by_hand_with_curl(project: Path) -> None:
    with Serving(project, *SERVE, "--idle-timeout", "never") as server:
        assert "the idle ladder is switched off" in server.log
        for tier, there in (("GPU", 512), ("CPU", 0), ("GPU", 512), ("Unloaded", 0)):
            answer = server.put("tts", tier)
            assert (answer.status_code, answer.json()["residency"]) == (200, tier)
            assert answer.json()["lastTransition"]["trigger"] == "Manual"
            assert server.metric(ON_THE_DEVICE) == there


def test_each_model_of_the_file_keeps_its_own_time(project: Path) -> None:
    (project / "dormouse.toml").write_text(
        'idle-timeout = "never"\n'
        '[models]\nasr = "studio:load_tts"\n'
        '[models.tts]\nload = "studio:load_tts"\nidle-timeout = 0.3\nunload-timeout = 0.9\n'
    )
    with Serving(project, "--app", "studio:create_app", "--device", "sim:1MiB") as server:
        for model in ("tts", "asr"):
            server.put(model, "GPU")
        until(lambda: server.residency("tts") == "Unloaded")
        assert server.residency("asr") == "GPU"
