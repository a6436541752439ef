"""The keeper against a Secret in memory: killed at any write, led by two, and whatever the source has."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from dormouse_operator.cluster.kube import Kube
from dormouse_operator.errors import KubeConflict, KubeNotFound, KubeUnavailable
from dormouse_operator.keys.identity import Identity, make_identity
from dormouse_operator.keys.keeper import KeyKeeper
from dormouse_operator.keys.keyring import Keyring
from dormouse_operator.keys.rotation import Rules, Step
from dormouse_operator.keys.source import Offer, OwnKeys
from dormouse_operator.keys.store import ROTATE_ANNOTATION, KeyStore

from ..objects import NOW

RULES = Rules(lifetime_seconds=3000, overlap_seconds=100)


class Killed(BaseException):
    """The process ends here."""


@dataclass
class SecretInMemory:
    """One Secret with versions. `kill` says at which write the process dies, and on which side of it."""

    body: dict[str, Any] | None = None
    writes: int = 0
    kill_at: int = 0
    kill_before: bool = True
    down: bool = False

    async def request(self, method: str, path: str, body: Mapping[str, Any] | None = None, **_: Any) -> dict[str, Any]:
        if self.down:
            raise KubeUnavailable("no answer", 0)
        if method == "GET":
            if self.body is None:
                raise KubeNotFound("not there", 404)
            return self.body
        assert body is not None
        known = self.body["metadata"]["resourceVersion"] if self.body else None
        if body["metadata"].get("resourceVersion") != known:
            raise KubeConflict("changed", 409)
        self.writes += 1
        if self.writes == self.kill_at and self.kill_before:
            raise Killed
        metadata = {**body["metadata"], "resourceVersion": str(self.writes), "uid": "uid"}
        self.body = {**body, "metadata": metadata}
        if self.writes == self.kill_at:
            raise Killed
        return self.body

    @property
    def keyring(self) -> Keyring:
        import base64

        data = (self.body or {}).get("data", {})
        return Keyring.from_data({name: base64.b64decode(text) for name, text in data.items()})

    def annotate(self) -> None:
        assert self.body is not None
        self.body["metadata"]["annotations"] = {ROTATE_ANNOTATION: "now", "mine": "stays"}


@dataclass
class Files:
    """A folder that a test fills."""

    offered: Offer = field(default_factory=Offer)
    makes_keys: bool = False

    def offer(self, now: float) -> Offer:
        return self.offered

    def new(self, now: float, offer: Offer) -> Identity | None:
        return offer.identity


@dataclass
class Operator:
    """One process: what it would order with and publish, and what it told."""

    secret: SecretInMemory
    source: Files | OwnKeys = field(default_factory=lambda: OwnKeys(RULES.lifetime_seconds))
    now: float = NOW
    leads: bool = True
    reports: bool = False
    everywhere: bool = True
    published: str = ""
    contexts: list[ssl.SSLContext] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    expiry: float = -1
    source_usable: bool = True

    def __post_init__(self) -> None:
        self.keeper = KeyKeeper(
            KeyStore(cast("Kube", self.secret), "dormouse-system"),
            self.source,
            RULES,
            self,
            self,
            use=self._use,
            publish=self._publish,
            is_everywhere=lambda: self.everywhere,
            reported=self._reported,
            leads=lambda: self.leads,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
        )

    async def _use(self, context: ssl.SSLContext) -> None:
        self.contexts.append(context)

    def _publish(self, certificates: str) -> None:
        self.published = certificates

    async def _reported(self, expires_at: float) -> bool:
        return self.reports

    async def stepped(self, step: Step, keyring: Keyring) -> None:
        self.steps.append(step)

    async def source_unusable(self, fault: str, has_key: bool) -> None:
        self.faults.append(fault)

    def certificate(self, expires_at: float) -> None:
        self.expiry = expires_at

    def key_source(self, usable: bool) -> None:
        self.source_usable = usable

    async def until(self, now: float) -> None:
        """Looks each second of the last minute."""
        self.now = max(self.now, now - 60)
        while self.now < now:
            self.now += 1
            await self.keeper.look()


def leaves(published: str) -> int:
    return published.count("BEGIN CERTIFICATE")


async def test_a_whole_rotation_when_all_report() -> None:
    operator = Operator(SecretInMemory(), reports=True)
    await operator.keeper.start(asyncio.Event())
    first = operator.secret.keyring.current
    assert leaves(operator.published) == 1
    assert operator.expiry == NOW + 3000
    await operator.until(NOW + 2001)
    assert operator.secret.keyring.current == first
    assert leaves(operator.published) == 2
    await operator.until(NOW + 2003)
    assert operator.steps == [Step.REPLACE, Step.PREPARE, Step.STAMP, Step.SWITCH]
    ring = operator.secret.keyring
    assert ring.current != first
    assert first is not None
    assert first.key_pem not in ring.to_data().values(), "the old key is gone at once"
    assert operator.published.splitlines()[1:3] != first.certificate_pem.decode().splitlines()[1:3]
    assert (len(operator.contexts), operator.expiry) == (2, NOW + 2001 + 3000)
    await operator.until(NOW + 2040)
    assert operator.steps[-1] is Step.RETIRE
    assert leaves(operator.published) == 1
    assert operator.secret.keyring == Keyring(current=ring.current)


async def test_a_sidecar_that_never_reports_holds_it_up_for_the_overlap_only() -> None:
    operator = Operator(SecretInMemory())
    await operator.keeper.start(asyncio.Event())
    await operator.until(NOW + 2002)
    await operator.until(NOW + 2101)
    assert operator.steps[-1] is Step.STAMP
    await operator.until(NOW + 2102)
    assert operator.steps[-1] is Step.SWITCH


@pytest.mark.parametrize("kill_before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("write", [1, 2, 3, 4, 5])
async def test_killed_at_any_write_another_one_ends_the_rotation(write: int, kill_before: bool) -> None:
    secret = SecretInMemory(kill_at=write, kill_before=kill_before)
    operator = Operator(secret, reports=True)

    async def live() -> None:
        await operator.keeper.start(asyncio.Event())
        await operator.until(NOW + 2040)

    with pytest.raises(Killed):
        await live()
    second = Operator(secret, now=operator.now, reports=True)
    await second.keeper.start(asyncio.Event())
    assert secret.keyring.current is not None
    assert second.published == secret.keyring.published
    await second.until(NOW + 2200)
    assert secret.keyring.is_at_rest
    # The step at which the first was killed may be done and not told.
    assert write == 5 or second.steps[-1] is Step.RETIRE
    assert second.steps.count(Step.REPLACE) == (write == 1 and kill_before)


async def test_before_the_fleet_is_known_nobody_counts_as_everybody() -> None:
    secret = SecretInMemory()
    operator = Operator(secret, reports=True)
    await operator.keeper.start(asyncio.Event())
    await operator.until(NOW + 2001)
    again = Operator(secret, now=operator.now, reports=True)
    await again.keeper.start(asyncio.Event())
    assert again.steps == []


async def test_a_standby_follows_and_never_writes() -> None:
    secret = SecretInMemory()
    leader, standby = Operator(secret, reports=True), Operator(secret, leads=False, reports=True)
    await standby.keeper.start(asyncio.Event())
    assert (secret.writes, standby.contexts, standby.expiry) == (0, [], 0)
    await leader.keeper.start(asyncio.Event())
    for moment in (2001, 2002, 2003, 2040):
        await leader.until(NOW + moment)
        standby.now = leader.now
        writes = secret.writes
        await standby.keeper.look()
        assert secret.writes == writes
        assert (standby.published, standby.expiry) == (leader.published, leader.expiry)
    assert len(standby.contexts) == 2
    standby.leads, leader.leads = True, False
    await standby.until(NOW + 2100)
    assert secret.writes == writes, "there is nothing left to do"


async def test_of_two_that_both_lead_one_step_comes_through() -> None:
    secret = SecretInMemory()
    one, other = Operator(secret, reports=True), Operator(secret, reports=True)
    await one.keeper.start(asyncio.Event())
    await other.keeper.start(asyncio.Event())
    assert (one.steps, other.steps) == ([Step.REPLACE], [])
    stored = await KeyStore(cast("Kube", secret), "dormouse-system").read()
    await one.until(NOW + 2001)
    with pytest.raises(KubeConflict):
        await KeyStore(cast("Kube", secret), "dormouse-system").write(stored, Keyring(), answered=False)
    other.now = one.now
    await other.keeper.look()
    assert (other.steps, other.published) == ([Step.STAMP], one.published)


async def test_expired_while_nobody_ran_a_new_one_takes_its_place_at_once() -> None:
    secret = SecretInMemory()
    await Operator(secret).keeper.start(asyncio.Event())
    late = Operator(secret, now=NOW + 365 * 86400)
    await late.keeper.start(asyncio.Event())
    assert late.steps == [Step.REPLACE]
    assert leaves(late.published) == 1
    assert late.expiry == late.now + 3000


async def test_a_person_asks_for_a_new_key_by_an_annotation() -> None:
    secret = SecretInMemory()
    operator = Operator(secret, reports=True)
    await operator.keeper.start(asyncio.Event())
    secret.annotate()
    await operator.until(NOW + 60)
    assert operator.steps == [Step.REPLACE, Step.PREPARE, Step.STAMP, Step.SWITCH, Step.RETIRE]
    assert secret.body is not None
    assert secret.body["metadata"]["annotations"] == {"mine": "stays"}


async def test_a_deleted_secret_means_a_new_key_at_once_and_the_old_one_trusted_no_more() -> None:
    secret = SecretInMemory()
    operator = Operator(secret)
    await operator.keeper.start(asyncio.Event())
    old = operator.published
    secret.body = None
    await operator.until(NOW + 1)
    assert operator.steps == [Step.REPLACE, Step.REPLACE]
    assert leaves(operator.published) == 1
    assert operator.published != old


async def test_without_an_api_server_orders_go_on_with_the_key_as_it_was() -> None:
    secret = SecretInMemory()
    operator = Operator(secret)
    await operator.keeper.start(asyncio.Event())
    published = operator.published
    secret.down = True
    with pytest.raises(KubeUnavailable):
        await operator.keeper.look()
    assert (operator.published, len(operator.contexts)) == (published, 1)


async def test_files_only_feed_the_next_key() -> None:
    one, two, three = (make_identity(NOW, 3000 + number) for number in range(3))
    files = Files(Offer(one))
    secret = SecretInMemory()
    operator = Operator(secret, files)
    await operator.keeper.start(asyncio.Event())
    files.offered = Offer(two)
    await operator.until(NOW + 1)
    assert (secret.keyring.current, secret.keyring.next) == (one, two)
    # A restart now must not order with what is in the files.
    again = Operator(secret, files, now=operator.now)
    await again.keeper.start(asyncio.Event())
    assert secret.keyring.current == one
    files.offered = Offer(three)
    await again.until(NOW + 4)
    assert (secret.keyring.current, secret.keyring.next) == (one, three)
    assert leaves(again.published) == 2
    again.reports = True
    await again.until(NOW + 40)
    assert secret.keyring == Keyring(current=three)


async def test_files_that_are_no_use_leave_the_key_alone_and_are_told_of_once() -> None:
    one = make_identity(NOW, 3000)
    files = Files(Offer(one))
    secret = SecretInMemory()
    operator = Operator(secret, files)
    await operator.keeper.start(asyncio.Event())
    files.offered = Offer(fault="tls.key is empty")
    await operator.until(NOW + 10)
    assert (operator.faults, operator.source_usable) == (["tls.key is empty"], False)
    assert secret.keyring == Keyring(current=one)
    files.offered = Offer(one)
    await operator.until(NOW + 11)
    assert operator.source_usable


async def test_without_any_usable_file_it_starts_and_waits() -> None:
    files = Files(Offer(fault="tls.crt can't be read"))
    secret = SecretInMemory()
    operator = Operator(secret, files)
    await operator.keeper.start(asyncio.Event())
    assert (secret.writes, operator.published, operator.contexts) == (0, "", [])
    files.offered = Offer(make_identity(NOW, 3000))
    await operator.until(NOW + 1)
    assert operator.steps == [Step.REPLACE]
