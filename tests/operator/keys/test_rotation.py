"""The rotation in virtual time: what may never happen, whatever fails in between and however clocks jump."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from dormouse_operator.keys.rotation import RETIRE_AFTER_SECONDS, Leaf, RotationState, Rules, Step, plan_rotation
from hypothesis import given
from hypothesis import strategies as st

RULES = Rules(lifetime_seconds=3000, overlap_seconds=100)
OLD, NEW, OTHER = Leaf("old", 3000.0), Leaf("new", 6000.0), Leaf("other", 7000.0)
AT_REST = RotationState(current=OLD)
PUBLISHED = RotationState(current=OLD, next=NEW, published_at=2100.0, everywhere=True)
FILES = RotationState(current=OLD, makes_keys=False)


@pytest.mark.parametrize(
    ("state", "now", "reported", "expected"),
    [
        pytest.param(RotationState(), 0, False, Step.REPLACE, id="the first start"),
        pytest.param(RotationState(makes_keys=False), 0, False, Step.HOLD, id="no key and no file that can be used"),
        pytest.param(RotationState(makes_keys=False, offered=NEW), 0, False, Step.REPLACE, id="the first file"),
        pytest.param(AT_REST, 2000, False, Step.HOLD, id="a third is left"),
        pytest.param(AT_REST, 2001, False, Step.PREPARE, id="less than a third is left"),
        pytest.param(replace(AT_REST, wanted=True), 0, False, Step.PREPARE, id="a person asks"),
        pytest.param(AT_REST, 3000, False, Step.REPLACE, id="expired while nobody ran"),
        pytest.param(replace(AT_REST, next=NEW), 3000, False, Step.SWITCH, id="expired, with the next one ready"),
        pytest.param(replace(AT_REST, next=NEW), 2100, True, Step.HOLD, id="not published yet"),
        pytest.param(replace(AT_REST, next=NEW, everywhere=True), 2100, False, Step.STAMP, id="published now"),
        pytest.param(PUBLISHED, 2150, False, Step.HOLD, id="some do not report"),
        pytest.param(PUBLISHED, 2150, True, Step.SWITCH, id="all report"),
        pytest.param(PUBLISHED, 2200, False, Step.SWITCH, id="time is up"),
        pytest.param(PUBLISHED, 2000, False, Step.STAMP, id="published in the future: the clock was set back"),
        pytest.param(replace(PUBLISHED, next=Leaf("new", 2150.0)), 2150, True, Step.WITHDRAW, id="next has expired"),
        pytest.param(replace(PUBLISHED, offered=OTHER), 2150, True, Step.WITHDRAW, id="the files changed again"),
        pytest.param(replace(PUBLISHED, offered=OLD), 2150, True, Step.WITHDRAW, id="the files were changed back"),
        pytest.param(RotationState(NEW, previous=OLD, switched_at=10), 39, False, Step.HOLD, id="calls may be open"),
        pytest.param(RotationState(NEW, previous=OLD, switched_at=10), 40, False, Step.RETIRE, id="calls have ended"),
        pytest.param(RotationState(NEW, previous=OLD, switched_at=10), 9, False, Step.RETIRE, id="switched in future"),
        pytest.param(replace(FILES, offered=OLD), 2999, False, Step.HOLD, id="files as they were"),
        pytest.param(replace(FILES, offered=NEW), 1, False, Step.PREPARE, id="files changed"),
        pytest.param(FILES, 2999, False, Step.HOLD, id="bad files leave the key alone"),
        pytest.param(FILES, 3000, False, Step.HOLD, id="bad files and an expired key"),
    ],
)
def test_the_step(state: RotationState, now: float, reported: bool, expected: Step) -> None:
    assert plan_rotation(state, now, reported, RULES) is expected


@dataclass
class World:
    """The Secret as the steps leave it, with what is known of each leaf and nobody writes down."""

    state: RotationState
    now: float
    published: dict[str, float]
    made: int = 0

    def look(self, reported: bool, everywhere: bool, offered: Leaf | None) -> Step:
        state = replace(self.state, everywhere=everywhere, offered=offered)
        step = plan_rotation(state, self.now, reported, RULES)
        before = self.state
        match step:
            case Step.REPLACE:
                self.state = RotationState(offered or self._make(), makes_keys=state.makes_keys)
            case Step.PREPARE:
                self.state = replace(before, next=offered or self._make(), published_at=None)
            case Step.STAMP:
                assert before.next is not None
                self.published[before.next.fingerprint] = self.now
                self.state = replace(before, published_at=self.now)
            case Step.WITHDRAW:
                self.state = replace(before, next=None, published_at=None)
            case Step.SWITCH:
                self.state = replace(
                    before, current=before.next, next=None, published_at=None, previous=before.current,
                    switched_at=self.now,
                )  # fmt: skip
            case Step.RETIRE:
                self.state = replace(before, previous=None)
            case Step.HOLD:
                pass
        self._judge(step, before, reported)
        return step

    def _make(self) -> Leaf:
        self.made += 1
        return Leaf(f"made-{self.made}", self.now + RULES.lifetime_seconds)

    def _judge(self, step: Step, before: RotationState, reported: bool) -> None:
        was_usable = before.current is not None and before.current.expires_at > self.now
        if was_usable and self.state.current != before.current:
            assert step is Step.SWITCH
            assert before.next is not None
            since = self.published[before.next.fingerprint]
            assert reported or self.now - since >= RULES.overlap_seconds, "ordered with a leaf that nobody was told of"
        if step is not Step.RETIRE and was_usable:
            leaves = (self.state.current, self.state.next, self.state.previous)
            assert before.current in leaves, "the key in use is not published any more"
        if step is Step.RETIRE and self.now >= before.switched_at:
            assert self.now - before.switched_at >= RETIRE_AFTER_SECONDS
        assert not (self.state.next and self.state.previous), "three leaves are published"


looks = st.lists(
    st.tuples(
        st.sampled_from([1, 5, 40, 99, 100, 101, 500, 1500, 4000]),
        st.booleans(),
        st.booleans(),
        st.sampled_from([None, 0, 1, 2]),
    ),
    max_size=60,
)


@given(looks, st.booleans())
def test_no_order_goes_out_with_a_leaf_that_was_not_published_long_enough(
    looks: list[tuple[int, bool, bool, int | None]], makes_keys: bool
) -> None:
    world = World(RotationState(makes_keys=makes_keys), 0.0, {})
    for elapsed, reported, everywhere, file in looks:
        world.now += elapsed
        offered = None if makes_keys or file is None else Leaf(f"file-{file}", 4000.0 * (file + 1))
        if offered is not None and offered.expires_at <= world.now:
            offered = None
        world.look(reported, everywhere, offered)


@pytest.mark.parametrize("reported", [True, False], ids=["all report", "none reports"])
def test_looked_at_every_second_a_key_never_expires_in_use(reported: bool) -> None:
    world = World(RotationState(current=Leaf("first", 3000.0)), 0.0, {})
    steps = set()
    for _ in range(8000):
        world.now += 1
        steps.add(world.look(reported, True, None))
        assert world.state.current is not None
        assert world.state.current.expires_at > world.now
    assert steps == {Step.HOLD, Step.PREPARE, Step.STAMP, Step.SWITCH, Step.RETIRE}
    assert world.made == 3
