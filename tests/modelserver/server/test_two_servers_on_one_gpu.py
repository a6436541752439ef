"""Two servers on one (simulated) GPU that holds one model only: who makes room for whom, and what when nobody can."""

import os
import random
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from dormouse_modelserver import ConfigurationError, ResidencyManager

from tests.waiting import until

from .serving_process import Serving

# On a busy machine it goes on until enough was answered, so long at most.
_AT_MOST_SECONDS = 200.0
_TRAFFIC_SECONDS = float(os.environ.get("DORMOUSE_SWAP_SECONDS", "20"))
# One model takes 512 bytes.
_CAPACITY = 900


def arguments(project: Path) -> tuple[str, ...]:
    device = f"sim:{_CAPACITY}@{project}/gpu"
    return ("--model", "tts=studio:load_tts", "--app", "studio:create_app", "--device", device)


@pytest.fixture
def neighbours(project: Path) -> Iterator[tuple[Serving, Serving]]:
    settings = {"DORMOUSE_GPU_ARBITER": str(project / "arbiter")}
    with (
        Serving(project, *arguments(project), GPU_IDLE_TIMEOUT="300", **settings) as one,
        Serving(project, *arguments(project), GPU_IDLE_TIMEOUT="600", **settings) as other,
    ):
        yield one, other


def snapshot(server: Serving) -> dict[str, object]:
    return dict(server.get("/dormouse/v1/models/tts").json())


def order(server: Serving, desired: str) -> httpx.Response:
    return httpx.put(f"{server.url}/dormouse/v1/models/tts/residency", json={"desired": desired}, timeout=20)


def test_asked_in_turns_they_swap_and_the_cause_is_pressure(neighbours: tuple[Serving, Serving]) -> None:
    one, other = neighbours
    for value in range(4):
        for awake, asleep in ((one, other), (other, one)):
            assert awake.get(f"/say/{value}").json() == 2 * value + 1
            assert snapshot(awake)["residency"] == "GPU"
            assert snapshot(asleep)["residency"] != "GPU"
    last = snapshot(one)["lastTransition"]
    assert isinstance(last, dict)
    assert (last["to"], last["trigger"]) == ("CPU", "Pressure")
    assert "tts needs 512 bytes and 388 are free" in last["reason"]


def test_random_traffic_on_both_never_fails_and_never_takes_more_than_there_is(
    neighbours: tuple[Serving, Serving],
) -> None:
    began, problems, answered = time.monotonic(), list[str](), [0, 0]

    def goes_on() -> bool:
        return time.monotonic() - began < (_TRAFFIC_SECONDS if min(answered) > 10 else _AT_MOST_SECONDS)

    def ask(number: int, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - traffic, no secret
        while goes_on():
            value = chance.randrange(1000)
            answer = neighbours[number].get(f"/say/{value}")
            if answer.status_code != 200 or answer.json() != 2 * value + 1:
                problems.append(f"{answer.status_code} {answer.text}")
            answered[number] += 1
            time.sleep(chance.random() * 0.2)

    clients = [threading.Thread(target=ask, args=(seed % 2, seed), daemon=True) for seed in range(6)]
    for client in clients:
        client.start()
    while any(client.is_alive() for client in clients):
        held = sum(int(str(snapshot(server)["gpuMemoryBytes"])) for server in neighbours)
        assert held <= 2 * 512, "each counts its own moment, so a swap may be seen from both sides"
        clients[0].join(0.05)
    assert problems == []
    assert min(answered) > 10


def test_a_neighbour_in_use_is_not_sent_away_and_the_answer_names_need_and_room(
    neighbours: tuple[Serving, Serving],
) -> None:
    one, other = neighbours
    assert one.get("/say/1").json() == 3
    pinned = {"validForSeconds": 60, "pinned": True}
    assert httpx.put(f"{one.url}/dormouse/v1/models/tts/policy", json=pinned).status_code == 200
    refused = order(other, "GPU")
    assert refused.status_code == 503
    assert (refused.json()["needBytes"], refused.json()["roomBytes"]) == (512, 388)
    assert int(refused.headers["Retry-After"]) >= 1
    assert snapshot(one)["residency"] == "GPU"


def test_without_an_arbiter_a_request_waits_until_there_is_room(project: Path) -> None:
    with Serving(project, *arguments(project)) as one, Serving(project, *arguments(project)) as other:
        assert one.get("/say/1").json() == 3
        answers: list[httpx.Response] = []
        request = threading.Thread(target=lambda: answers.append(other.get("/say/2")))
        request.start()
        until(lambda: snapshot(other)["waiting"] == 1)
        assert order(one, "CPU").status_code == 200
        request.join(20)
        assert answers[0].json() == 5


def test_a_dead_neighbours_socket_is_no_obstacle_and_is_cleared_away(project: Path) -> None:
    folder = project / "arbiter"
    folder.mkdir(mode=0o700)
    dead = folder / "1-deadbeef.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(dead))
    with Serving(project, *arguments(project), DORMOUSE_GPU_ARBITER=str(folder)) as one:
        assert one.get("/say/1").json() == 3
        with Serving(project, *arguments(project), DORMOUSE_GPU_ARBITER=str(folder)) as other:
            assert other.get("/say/1").json() == 3
            assert not dead.exists()
            other.process.kill()
            other.process.wait(10)
            assert one.get("/say/2").json() == 5, "what a dead process held is free, and its socket refuses"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert one.stop() == 0
        assert list(folder.glob("*.sock")) == [] or "-" in next(folder.glob("*.sock")).name


@pytest.mark.parametrize("mode", [0o770, 0o707], ids=["group may write", "all may write"])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "arbiter"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ConfigurationError, match="pose as a neighbour"):
        ResidencyManager("sim", socket="", gpu_arbiter=str(folder))


@pytest.mark.parametrize(
    "line",
    [b"\n", b"[]\n", b'{"ask": "leave"}\n', b'{"ask": "leave", "gpu": "sim", "model": 5}\n', b"\xff\n", b"x" * 70_000],
    ids=["empty", "a list", "no gpu", "a number for a name", "no text", "endless"],
)
def test_nonsense_on_the_socket_is_answered_by_closing_it_and_changes_nothing(tmp_path: Path, line: bytes) -> None:
    manager = ResidencyManager("sim", socket="", gpu_arbiter=str(tmp_path / "arbiter"))
    try:
        path = next((tmp_path / "arbiter").glob("*.sock"))
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(10)
            stranger.connect(str(path))
            try:
                stranger.sendall(line)
                received = stranger.recv(1000)
            except (BrokenPipeError, ConnectionResetError):
                received = b""
            assert received in (b"", b"{}\n", b'{"left": false}\n')
    finally:
        manager.close()
    assert list((tmp_path / "arbiter").glob("*.sock")) == []
