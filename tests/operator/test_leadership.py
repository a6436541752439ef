"""Who leads when, in virtual time: conflicts, refusals, hanging calls, lost answers, edits by hand and odd clocks."""

from __future__ import annotations

import asyncio
import random

import pytest
from dormouse_operator.cluster.kube import Kube
from dormouse_operator.errors import KubeError, KubeNotFound, KubeUnavailable, NotLeading, SettingsError
from dormouse_operator.leadership.election import Alone, Leadership
from dormouse_operator.leadership.settings import LeaseSettings
from dormouse_operator.orders import Fence

from .lease_world import SETTINGS, Operators

DEADLINE, DURATION, RETRY = SETTINGS.renew_deadline_seconds, SETTINGS.duration_seconds, SETTINGS.retry_seconds


@pytest.fixture
def operators() -> Operators:
    return Operators()


async def leading(operators: Operators, name: str = "a") -> Leadership:
    made = operators.add(name)
    await made.attempt()
    assert made.leads
    return made


async def test_the_first_creates_the_lease_and_leads_under_its_uid_and_term_0(operators: Operators) -> None:
    a = await leading(operators)
    assert a.fence == Fence("uid-1", 0)
    assert operators.server.spec["holderIdentity"] == "a"
    assert operators.server.spec["leaseDurationSeconds"] == DURATION
    assert operators.changes == ["a"]


async def test_of_two_that_begin_at_once_one_leads(operators: Operators) -> None:
    a, b = operators.add("a"), operators.add("b")
    await asyncio.gather(a.attempt(), b.attempt())
    assert [a.leads, b.leads].count(True) == 1


async def test_a_leader_that_renews_goes_on_under_the_same_term(operators: Operators) -> None:
    a, b = await leading(operators), operators.add("b")
    await operators.side_by_side(300, a, b)
    assert a.fence == Fence("uid-1", 0)
    assert not b.leads
    assert b.fence is None


async def test_the_time_of_a_leader_ends_without_anybody_noticing(operators: Operators) -> None:
    a = await leading(operators)
    operators.clock.now += DEADLINE - 0.001
    assert a.leads
    operators.clock.now += 0.001
    assert not a.leads
    assert a.fence is None


async def test_a_call_that_hangs_keeps_nobody_leading(operators: Operators) -> None:
    a = await leading(operators)
    operators.lines["a"].fault = "hangs"
    hanging = asyncio.create_task(a.attempt())
    await operators.lines["a"].hanging.wait()
    operators.clock.now += DEADLINE
    assert not hanging.done()
    assert not a.leads
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)


async def test_a_renewal_counts_from_before_it_was_sent(operators: Operators) -> None:
    """Its answer may be seconds late, while the Lease has run since the server wrote it."""
    a = await leading(operators)
    sent_at = operators.clock.now
    original = operators.server.write

    def slow(body: object) -> dict[str, object]:
        answer = original(body)  # type: ignore[arg-type]
        operators.clock.now += 3
        return answer

    operators.server.write = slow  # type: ignore[method-assign, assignment]
    await a.attempt()
    operators.clock.now = sent_at + DEADLINE
    assert not a.leads


@pytest.mark.parametrize(
    "fault",
    [
        "times out",
        "loses the answer",
        KubeUnavailable("HTTP 500", 500),
        KubeUnavailable("connection refused", 0),
        KubeError("HTTP 403", 403),
        KubeError("HTTP 401", 401),
    ],
    ids=str,
)
async def test_a_leader_that_is_cut_off_stops_before_another_begins(
    operators: Operators, fault: KubeError | str
) -> None:
    a, b = await leading(operators), operators.add("b")
    await operators.side_by_side(20, a, b)
    cut_at = operators.clock.now
    operators.lines["a"].fault = fault
    stopped_at = began_at = 0.0
    while not began_at:
        await a.attempt()
        rest = await b.attempt()
        assert not (a.leads and b.leads)
        if not a.leads and not stopped_at:
            stopped_at = operators.clock.now
        if b.leads:
            began_at = operators.clock.now
        operators.clock.now += min(rest, 0.5)
        assert operators.clock.now < cut_at + 60
    assert 0 < stopped_at < began_at
    # It comes back, and finds another.
    operators.lines["a"].fault = None
    await operators.side_by_side(60, a, b)
    assert not a.leads
    assert b.fence == Fence("uid-1", 1)


async def test_a_dead_leader_is_followed_within_duration_and_retry(operators: Operators) -> None:
    a, b = await leading(operators), operators.add("b")
    for offset in (0.0, 0.7, 1.3, 1.999):
        leader, other = (a, b) if a.leads else (b, a)
        await operators.side_by_side(10 + offset, leader, other)
        died_at = operators.clock.now
        took = await operators.until_leads(other, within_seconds=20) - died_at
        assert DURATION - RETRY <= took <= DURATION + RETRY
        # `leader` was only silent; it finds itself followed.
        await leader.attempt()
        assert not leader.leads


async def test_no_wall_clock_is_compared_with_another(operators: Operators) -> None:
    a = operators.add("a", wall_clock=0.0)
    b = operators.add("b", wall_clock=4e9)
    await a.attempt()
    await operators.side_by_side(200, a, b)
    assert a.leads


async def test_a_released_lease_is_taken_at_the_next_look_and_is_another_term(operators: Operators) -> None:
    a, b = await leading(operators), operators.add("b")
    await operators.side_by_side(10, a, b)
    await a.release()
    assert not a.leads
    assert operators.server.spec["holderIdentity"] == ""
    released_at = operators.clock.now
    assert await operators.until_leads(b, within_seconds=5) - released_at <= RETRY
    assert b.fence == Fence("uid-1", 1)


async def test_releasing_twice_or_while_standing_by_takes_nothing_from_anybody(operators: Operators) -> None:
    a, b = await leading(operators), operators.add("b")
    await b.attempt()
    await b.release()
    assert operators.server.spec["holderIdentity"] == "a"
    await a.release()
    await b.attempt()
    await a.release()
    assert operators.server.spec["holderIdentity"] == "b"


async def test_a_release_after_a_renewal_that_was_cut_off_works(operators: Operators) -> None:
    a = await leading(operators)
    operators.server.annotate()
    await a.release()
    assert operators.server.spec["holderIdentity"] == ""


async def test_a_release_that_is_refused_or_hangs_does_not_hold_up_the_end(operators: Operators) -> None:
    a = await leading(operators)
    operators.lines["a"].fault = "times out"
    began = operators.clock.now
    await a.release()
    assert not a.leads
    assert operators.clock.now - began <= DEADLINE


async def test_a_lease_that_somebody_else_took_ends_it_at_the_next_renewal(operators: Operators) -> None:
    a = await leading(operators)
    operators.server.edit(holderIdentity="b", leaseTransitions=1)
    await a.attempt()
    assert not a.leads


async def test_an_annotation_changes_nothing_for_the_leader_and_is_no_sign_of_life(operators: Operators) -> None:
    a, b = await leading(operators), operators.add("b")
    operators.server.annotate()
    await operators.side_by_side(5, a, b)
    assert a.fence == Fence("uid-1", 0)
    died_at = operators.clock.now
    while not b.leads:
        operators.server.annotate()
        operators.clock.now += max(0.05, await b.attempt())
        assert operators.clock.now < died_at + 20


async def test_a_deleted_lease_ends_it_and_the_next_one_is_another_issuer(operators: Operators) -> None:
    a, b = await leading(operators), operators.add("b")
    operators.server.delete()
    await a.attempt()
    assert not a.leads
    await operators.side_by_side(10, b, a)
    assert b.fence == Fence("uid-2", 0)
    assert not a.leads


async def test_a_lease_recreated_in_between_is_not_ours(operators: Operators) -> None:
    a, b = await leading(operators), operators.add("b")
    operators.server.delete()
    await b.attempt()
    await a.attempt()
    assert (a.leads, b.leads) == (False, True)


async def test_a_claim_whose_answer_was_lost_is_taken_up_later_without_another_term(operators: Operators) -> None:
    a = await leading(operators)
    await a.release()
    b = operators.add("b")
    operators.lines["b"].fault = "loses the answer"
    await b.attempt()
    assert not b.leads
    operators.lines["b"].fault = None
    await operators.until_leads(b, within_seconds=DURATION + 3 * RETRY)
    assert b.fence == Fence("uid-1", 1)


async def test_a_renewal_whose_answer_was_lost_is_followed_by_one_that_works(operators: Operators) -> None:
    a = await leading(operators)
    operators.lines["a"].fault = "loses the answer"
    operators.clock.now += await a.attempt()
    operators.lines["a"].fault = None
    operators.clock.now += await a.attempt()
    await a.attempt()
    operators.clock.now += DEADLINE - 1
    assert a.fence == Fence("uid-1", 0)


async def test_the_duration_that_the_holder_wrote_counts_and_not_our_own(operators: Operators) -> None:
    slow = operators.add("a", settings=LeaseSettings(enabled=True, duration_seconds=60, renew_deadline_seconds=50))
    await slow.attempt()
    b = operators.add("b")
    began = operators.clock.now
    assert await operators.until_leads(b, within_seconds=70) - began >= 60


async def test_a_refusing_api_server_is_asked_at_the_retry_interval(operators: Operators) -> None:
    """Also after the other's Lease has run out."""
    a, b = await leading(operators), operators.add("b")
    await b.attempt()
    operators.lines["b"].fault = KubeError("HTTP 403", 403)
    operators.lines["b"].calls.clear()
    began = operators.clock.now
    while operators.clock.now - began < 100:
        operators.clock.now += await b.attempt()
    assert len(operators.lines["b"].calls) <= 100 / RETRY + 2
    assert not a.leads
    assert not b.leads


async def test_without_the_namespace_nobody_leads_and_nothing_is_raised(operators: Operators) -> None:
    a = operators.add("a")
    operators.lines["a"].fault = KubeNotFound("namespaces not found", 404)
    await a.attempt()
    assert not a.leads


@pytest.mark.parametrize("seed", range(20))
async def test_a_day_of_random_faults_never_has_two_leaders(operators: Operators, seed: int) -> None:
    """Each loses calls, answers and time at random; at every moment one leads at most, and terms only rise."""
    dice = random.Random(seed)  # noqa: S311
    clock, names = operators.clock, ("a", "b", "c")
    fleet = {name: operators.add(name) for name in names}
    due = dict.fromkeys(names, 0.0)
    # A fault of one must not move the time of the others, so calls that hang are told as refused.
    faults = (None, None, None, KubeUnavailable("hangs", 0), KubeError("HTTP 403", 403))
    terms: list[int] = []
    end = clock.now + 86400 / 20
    while clock.now < end:
        clock.now += dice.choice((0.1, 0.3, 1.0))
        for name, one in fleet.items():
            if due[name] <= clock.now:
                if dice.random() < 0.05:
                    operators.lines[name].fault = dice.choice(faults)
                due[name] = clock.now + await one.attempt() + (dice.random() < 0.01) * dice.uniform(0, 30)
            if dice.random() < 0.0005:
                await one.release()
        leaders = [one.fence for one in fleet.values() if one.fence is not None]
        assert len(leaders) <= 1
        terms += [fence.term for fence in leaders]
    assert terms == sorted(terms)
    assert len(set(terms)) > 3, "the faults were too few to show anything"


async def test_alone_one_always_leads_and_each_process_is_another_issuer() -> None:
    one, other = Alone(), Alone()
    assert one.leads
    assert (one.fence.term, other.fence.term) == (0, 0)
    assert one.fence.issuer != other.fence.issuer


async def test_an_operator_that_stands_by_writes_nothing_through_its_api_client() -> None:
    kube = Kube(None, may_write=lambda: False)  # type: ignore[arg-type]
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        with pytest.raises(NotLeading, match="stands by"):
            await kube.request(method, "/api/v1/namespaces/speech/configmaps")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"duration_seconds": 10},
            "--lease-renew-deadline is 10 and --lease-duration 10; write a deadline that is less",
        ),
        ({"renew_deadline_seconds": 5}, "--lease-retry is 2; write seconds from 0.1 to a third"),
        ({"retry_seconds": 0}, "--lease-retry is 0; write seconds from 0.1"),
        ({"duration_seconds": 0}, "--lease-duration is 0; write whole seconds from 1 to 3600"),
        ({"name": "Not A Name"}, "--lease-name is 'Not A Name'; write lower-case"),
    ],
    ids=["deadline not below duration", "retry too long", "retry 0", "duration 0", "name"],
)
def test_settings_that_make_no_sense_are_refused_in_a_sentence(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence.replace(".", r"\.")):
        LeaseSettings(**settings)  # type: ignore[arg-type]
