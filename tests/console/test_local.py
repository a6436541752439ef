"""The console on one's own machine: one's kubeconfig, a key that nobody else has, and loopback only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dormouse_console.callers import is_loopback

from localcluster import Process
from localcluster.errors import ChildDied
from localcluster.kubeconfig import write_kubeconfig

from .conftest import MODEL, NAMESPACE, World
from .conversation import Conversation
from .people import Person
from .running import console, console_command

KEY = "a-key-for-this-test"


@pytest.fixture(scope="module")
def url(world: World, permitted: Person, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("local")
    plane = world.stage.cluster.control_plane
    kubeconfig = write_kubeconfig(
        folder / "config",
        server=plane.url,
        ca=plane.directory / "pki" / "ca.crt",
        user="anna",
        credentials=permitted.token,
    )
    flags = ("--local", f"--kubeconfig={kubeconfig}", f"--kubectl={plane.kubectl_path}")
    with console(folder, world.stage, *flags, DORMOUSE_CONSOLE_KEY=KEY) as url:
        yield url


def test_with_the_key_it_acts_as_the_kubeconfigs_user_and_no_further(world: World, permitted: Person, url: str) -> None:
    with Conversation(url, Person("me", KEY)) as me:
        session = me.get("session").json()
        assert session["user"] == permitted.user
        assert session["local"] is True
        assert me.get("fleet", namespace=NAMESPACE).status_code == 200
        assert me.get("fleet").status_code == 403
        assert me.change(NAMESPACE, MODEL, "auto").status_code == 200


@pytest.mark.parametrize("person", [None, Person("other", "guessed")])
def test_without_the_key_nobody_on_the_machine_gets_anything(url: str, person: Person | None) -> None:
    with Conversation(url, person) as other:
        assert other.get("fleet", namespace=NAMESPACE).status_code == 401
        assert other.change(NAMESPACE, MODEL, "wake").status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7861", "127.0.0.1.evil.example", ""])
def test_a_name_that_was_bound_to_this_machine_is_not_answered(url: str, host: str) -> None:
    with Conversation(url, Person("me", KEY), Host=host) as rebound:
        assert rebound.get("fleet", namespace=NAMESPACE).status_code in (400, 403)


@pytest.mark.parametrize("host", ["0.0.0.0", "example.com"])  # noqa: S104
def test_it_refuses_to_listen_where_others_could_come(world: World, tmp_path: Path, host: str) -> None:
    command = console_command(world.stage, 1, "--local", f"--host={host}")
    with (
        pytest.raises(ChildDied, match="must be a loopback address"),
        Process("console", command, directory=tmp_path) as process,
    ):
        process.wait_until(lambda: False, deadline_seconds=30, what="answering")


def test_loopback_is_what_only_this_machine_reaches() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.8.8", "::1")))
    assert not any(map(is_loopback, ("", "0.0.0.0", "::", "10.0.0.1", "localhost.evil.example")))  # noqa: S104
