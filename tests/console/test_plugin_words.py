"""How people name a moment, what each change writes, and what a terminal shows. No I/O."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dormouse_console.changes import Change, has_no_effect_because, patch_for
from dormouse_console.errors import BadRequest, SettingsError
from dormouse_console.plugin.moments import age, moment
from dormouse_console.plugin.printed import explained, top
from dormouse_console.replicas import runs
from dormouse_console.timeseries import Series
from dormouse_contract import Mode

NOW = datetime(2026, 12, 1, 17, 30, tzinfo=ZoneInfo("Asia/Shanghai"))


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2h", "2026-12-01T19:30:00+08:00"),
        ("30m", "2026-12-01T18:00:00+08:00"),
        ("18:00", "2026-12-01T18:00:00+08:00"),
        ("9:15", "2026-12-02T09:15:00+08:00"),
        ("2026-12-03T08:00", "2026-12-03T08:00:00+08:00"),
        ("2026-12-03T08:00Z", "2026-12-03T08:00:00+00:00"),
    ],
)
def test_a_moment_is_what_people_mean(said: str, meant: str) -> None:
    assert moment(said, NOW) == datetime.fromisoformat(meant)


@pytest.mark.parametrize("said", ["", "soon", "25:00", "12:60", "2 h", "-1h", "2026-13-01"])
def test_what_is_no_moment_is_refused_with_the_ways_to_write_one(said: str) -> None:
    with pytest.raises(SettingsError, match="18:00"):
        moment(said, NOW)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0s"), (45, "45s"), (500, "8m20s"), (3600, "1h"), (11_520, "3h12m"), (190_800, "2d5h")]
)
def test_an_age_has_two_units(seconds: float, shown: str) -> None:
    assert age(seconds) == shown


def test_auto_clears_the_time_too_and_nothing_else_touches_the_policy() -> None:
    assert patch_for(Change.AUTO, 0.0) == {"spec": {"residency": "Auto", "residencyUntil": None}}
    for change in Change:
        until = 60.0 if change is Change.PIN else None
        assert set(patch_for(change, 0.0, until)["spec"]) <= {"residency", "residencyUntil", "mode"}


def test_a_pin_without_end_or_into_the_past_is_refused() -> None:
    for until in (None, -1.0, 0.0, 400 * 86_400.0):
        with pytest.raises(BadRequest):
            patch_for(Change.PIN, 0.0, until)


def test_a_wake_of_a_paused_model_says_that_nothing_will_move() -> None:
    assert "Paused" in has_no_effect_because(Change.WAKE, Mode.PAUSED)
    assert "Observe" in has_no_effect_because(Change.PIN, Mode.OBSERVE)
    assert has_no_effect_because(Change.RESUME, Mode.ACTIVE) == ""


def body(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "speech", "name": "tts", "generation": 2},
        "spec": {
            "selector": {"matchLabels": {"app": "tts"}},
            "policy": {"offloadAfterSeconds": 600, "unloadAfterSeconds": 7200},
        },
        "status": status,
    }


def seen() -> dict[str, Any]:
    return body(
        observedGeneration=2,
        residency="CPU",
        desiredResidency="CPU",
        replicas={"total": 2, "gpu": 0},
        gpuMemoryReleased="13.8Gi",
        conditions=[{"type": "Ready", "status": "True", "reason": "AsDesired", "message": "Every replica is there."}],
        lastTransition={
            "from": "GPU",
            "to": "CPU",
            "time": "1970-01-01T00:10:00Z",
            "trigger": "Idle",
            "message": "idle 612 s ≥ 600 s",
        },
    )


def test_the_table_is_aligned_and_has_colours_only_when_asked() -> None:
    plain = top([seen(), body()], 660.0, with_namespace=True, colours=False)
    heads, *lines = plain.splitlines()
    assert all(
        line.index(cell) == heads.index("RESIDENCY") for line, cell in zip(lines, ("CPU", "Unknown"), strict=True)
    )
    assert "CPU 1m ago (Idle)" in lines[0]
    assert "NotSeenYet" in lines[1]
    assert "\x1b" not in plain
    assert "\x1b[33mCPU" in top([seen()], 660.0, with_namespace=False, colours=True)


def test_an_explanation_says_where_why_and_what_the_policy_asks() -> None:
    said = explained(seen(), "no Prometheus", 660.0)
    for part in (
        "🟡 CPU",
        "0 of 2",
        "GPU → CPU 1m ago (Idle)",
        "idle 612 s ≥ 600 s",
        "after 10m",
        "on the GPU for 1m after a wake",
        "waits 30s at most",
        "Ready=True",
    ):
        assert part in said
    assert "Is it running?" in explained(body(), "", 0.0)


def test_a_gap_in_the_samples_is_a_gap_in_the_timeline() -> None:
    points = [(0.0, 2.0), (10.0, 2.0), (20.0, 1.0), (30.0, 1.0), (100.0, 0.0), (110.0, 0.0)]
    assert runs(Series({}, tuple(points)), 10.0) == [
        [0.0, 20.0, "GPU"],
        [20.0, 30.0, "CPU"],
        [100.0, 110.0, "Unloaded"],
    ]


def test_a_pin_whose_end_can_not_be_read_is_not_shown_as_one_without_an_end() -> None:
    pinned = seen()
    pinned["spec"] |= {"residency": "GPU", "residencyUntil": "2027-01-01T00:00:00,5Z"}
    said = explained(pinned, "", 660.0)
    assert "by hand" not in said
    assert "until somebody clears it" not in said
    assert "residency counts as Auto" in said
    assert "by hand" not in top([pinned], 660.0, with_namespace=False, colours=False)


FORGED = "x\n🟢 speech/tts is asleep\x1b[2J\x1b]0;title\x07\u202e"


def foreign(**status: Any) -> dict[str, Any]:
    """An object whose status says what somebody else wants on this screen."""
    condition = {"type": "Ready", "status": FORGED, "reason": FORGED, "message": FORGED}
    moved = {"from": FORGED, "to": FORGED, "time": "2026-12-01T00:00:00Z", "trigger": FORGED, "message": FORGED}
    said = {"observedGeneration": 1, "residency": FORGED, "desiredResidency": FORGED, "gpuMemoryReleased": FORGED}
    return {
        "metadata": {"namespace": "speech", "name": "tts", "generation": 1},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "mode": FORGED, "policy": {"schedule": FORGED}},
        "status": said | {"conditions": [condition], "lastTransition": moved} | status,
    }


def test_a_terminal_gets_no_word_of_others_but_as_plain_text() -> None:
    replica = {"pod": FORGED, "model": FORGED, "residency": FORGED, "decision": FORGED, "nextLookAt": None}
    shown = [
        top([foreign()], 0.0, True, colours=False),
        explained(foreign(), [replica], 0.0),
        explained(foreign(), FORGED, 0.0),
        explained(foreign(observedGeneration=None), FORGED, 0.0),
    ]
    for text in shown:
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert not any(line.startswith("🟢 speech/tts is asleep") for line in text.split("\n"))
    assert len(shown[0].split("\n")) == 2


def test_colours_of_ours_stay_and_those_of_others_do_not() -> None:
    painted = top([foreign(residency="GPU")], 0.0, False, colours=True)
    assert painted.count("\x1b[32m") == 1
    assert "\x1b[2J" not in painted
