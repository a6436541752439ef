"""Who leaves and who is drained, decided on figures alone."""

from dataclasses import replace

from dormouse_modelserver.lifecycle.room.turns import Claim, Decision, Key, Occupant, decide
from hypothesis import given
from hypothesis import strategies as st

A, B, C, D = ("", "a"), ("", "b"), ("", "c"), ("elsewhere", "d")
WAITS = Claim(B, need_bytes=8, waited_seconds=3, patience_seconds=20, budget_seconds=30, turn_seconds=10)
DUE = replace(WAITS, waited_seconds=12, turn_due=True)
IDLE = Occupant(A, 8, idle_seconds=5)
BUSY = Occupant(A, 8, idle_seconds=0, in_use=True, uses=3, wake_budget_seconds=30)


def for_b(claim: Claim, *occupants: Occupant, free: int = 0) -> Decision:
    return decide([claim], occupants, free)[B]


def test_the_longest_idle_leave_and_no_more_of_them_than_it_takes() -> None:
    there = [Occupant(A, 4, 5), Occupant(C, 8, 4), Occupant(D, 4, 9)]
    assert for_b(WAITS, *there).leave == (D, A)
    assert for_b(WAITS, *there, free=4).leave == (D,)
    assert for_b(WAITS, Occupant(A, 2, 9), Occupant(C, 8, 4)).leave == (C,), "a turned out superfluous"


def test_nobody_leaves_when_all_together_would_not_make_room() -> None:
    decision = for_b(DUE, Occupant(A, 4, 5), Occupant(C, 8, 9, pinned=True))
    assert (decision.leave, decision.drain) == ((), ())
    assert decision.reason == "c may not leave"


def test_one_in_use_is_drained_when_the_turn_has_come_and_not_before() -> None:
    assert for_b(WAITS, BUSY).drain == ()
    assert for_b(DUE, BUSY).drain == (A,)


def test_a_drain_lasts_for_the_least_of_turn_budget_and_patience() -> None:
    assert for_b(replace(DUE, turn_seconds=4), BUSY).drain_seconds == 4
    assert for_b(DUE, replace(BUSY, wake_budget_seconds=9)).drain_seconds == 3
    assert for_b(replace(DUE, patience_seconds=5, restore_seconds=3), BUSY).drain_seconds == 2
    assert for_b(replace(DUE, patience_seconds=2, restore_seconds=3), BUSY).drain == (), "it would come too late"


def test_one_whose_drain_ran_out_is_left_alone_for_a_while() -> None:
    assert for_b(DUE, replace(BUSY, undrainable_seconds=30)).drain == ()


def test_idle_ones_leave_with_the_one_that_is_drained_and_not_before_it() -> None:
    decision = for_b(DUE, replace(BUSY, nbytes=4), Occupant(C, 4, 1))
    assert (decision.leave, decision.drain) == ((C,), (A,))


def test_who_came_in_by_a_claim_keeps_its_place_for_a_while() -> None:
    fresh = replace(BUSY, came_in_seconds=4)
    assert for_b(DUE, fresh).drain == ()
    assert for_b(DUE, replace(fresh, came_in_seconds=5)).drain == (A,)
    assert for_b(DUE, replace(fresh, came_in_seconds=9, restore_seconds=2)).drain == ()
    assert for_b(replace(DUE, budget_seconds=6), replace(fresh, came_in_seconds=2)).drain == (A,)


def test_a_pause_between_two_requests_is_no_rest_and_a_longer_one_is() -> None:
    fresh = replace(IDLE, came_in_seconds=1)
    assert for_b(WAITS, replace(fresh, idle_seconds=0.1)).leave == ()
    assert for_b(WAITS, replace(fresh, idle_seconds=0.3)).leave == (A,)


def test_what_an_earlier_claim_counts_on_is_not_there_for_a_later_one() -> None:
    earlier = Claim(C, 8, waited_seconds=9, patience_seconds=20)
    decided = decide([WAITS, earlier], [IDLE], 0)
    assert (decided[C].leave, decided[B].leave) == ((A,), ())
    decided = decide([replace(earlier, need_bytes=100), WAITS], [IDLE], 0)
    assert decided[B].leave == (A,), "one that can't be served stops nobody"


def test_a_request_that_is_the_only_one_in_the_way_is_named() -> None:
    own = replace(BUSY, uses=1, held_for={B: 1})
    assert for_b(WAITS, own).circle == (A,)
    assert for_b(WAITS, replace(own, uses=2)).circle == (), "another one may end"
    assert for_b(WAITS, own, Occupant(D, 8, 0, in_use=True)).circle == (), "another one may leave"


def test_requests_that_wait_for_each_other_are_named_when_the_turn_has_come() -> None:
    other = Claim(D, 8, waited_seconds=1, patience_seconds=20)
    held = replace(BUSY, uses=1, held_for={D: 1})
    assert decide([WAITS, other], [held], 0)[B].circle == ()
    assert decide([DUE, other], [held], 0)[B].circle == (A,)


def test_what_an_earlier_version_says_of_its_idle_models_is_enough() -> None:
    assert for_b(WAITS, Occupant(D, None, 3)).leave == (D,)


KEYS = [("", name) for name in "abcdef"]
_seconds = st.floats(0, 60)
_claims = st.builds(
    Claim, st.sampled_from(KEYS[:3]), st.integers(1, 20), _seconds, _seconds, st.floats(0.1, 60), st.booleans()
)
_occupants = st.builds(
    Occupant,
    st.sampled_from(KEYS),
    st.none() | st.integers(0, 20),
    _seconds,
    st.booleans(),
    st.integers(0, 3),
    st.booleans(),
    st.booleans(),
    _seconds,
    st.none() | _seconds,
    _seconds,
    st.floats(0.1, 60),
    st.sampled_from([0.0, 5.0]),
)


@given(
    st.lists(_claims, max_size=3, unique_by=lambda claim: claim.key),
    st.lists(_occupants, max_size=6, unique_by=lambda one: one.key),
    st.integers(0, 20),
)
def test_nobody_is_sent_away_or_drained_in_vain_or_twice(
    claims: list[Claim], occupants: list[Occupant], free: int
) -> None:
    there, taken = {one.key: one for one in occupants}, set[Key]()
    for claim in sorted(claims, key=lambda claim: (-claim.waited_seconds, claim.key)):
        decision = decide(claims, occupants, free)[claim.key]
        away = [there[key] for key in (*decision.leave, *decision.drain)]
        assert not taken & {one.key for one in away}, "promised to an earlier one"
        taken |= {one.key for one in away}
        assert not any(one.pinned or one.moving or one.key == claim.key for one in away)
        assert not any(one.in_use for one in away if one.key in decision.leave)
        assert claim.turn_due or not decision.drain
        if away:
            freed = sum(claim.need_bytes if one.nbytes is None else one.nbytes for one in away)
            assert freed + free >= claim.need_bytes
