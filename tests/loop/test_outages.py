"""What users and models notice when a part is away: nothing but memory that stays taken."""

import json
import time

from dormouse_contract import Residency, Trigger

from .conftest import Loop, Users, eventually

LADDER = {"offloadAfterSeconds": 4, "unloadAfterSeconds": 600, "minResidentSeconds": 1}


def test_without_prometheus_nothing_is_demoted_by_order_and_it_recovers_by_itself(loop: Loop) -> None:
    loop.apply("tiny", policy=LADDER)
    loop.until_watched("tiny")
    loop.ask()
    with loop.stage.prometheus_stopped():
        missing = eventually(
            "the condition tells",
            lambda: (c := loop.condition("tiny", "IdleSignalAvailable")).get("status") == "False" and c,
        )
        assert missing["reason"] == "PrometheusUnavailable"
        idle = eventually(
            "long idle", lambda: (s := loop.snapshot()).idle_seconds > 2 * LADDER["offloadAfterSeconds"] and s
        )
        assert idle.residency is Residency.GPU
        assert "PrometheusUnavailable" in loop.kubectl("get", "dmm", "tiny", "-o", "wide")
    loop.until_on(Residency.CPU)
    eventually("it recovered", lambda: loop.condition("tiny", "IdleSignalAvailable").get("status") == "True")


def test_a_lent_policy_acts_without_prometheus(loop: Loop) -> None:
    loop.apply("tiny", policy={"offloadAfterSeconds": 0})
    loop.ask()
    loop.until_on(Residency.CPU)
    with loop.stage.prometheus_stopped():
        loop.ask()
        slept = loop.until_on(Residency.CPU)
    assert slept.last_transition is not None
    assert slept.last_transition.trigger is Trigger.AFTER_TASK
    # Withdrawn with its ManagedModel: the next use keeps the weights where they are.
    _delete_until_nothing_acts(loop)


def test_a_policy_lent_before_newer_orders_is_withdrawn_all_the_same(loop: Loop) -> None:
    loop.apply("tiny", policy={"offloadAfterSeconds": 0, "minResidentSeconds": 0})
    loop.ask()
    loop.until_on(Residency.CPU)
    loop.apply("tiny", residency="Unloaded", policy={"offloadAfterSeconds": 0, "minResidentSeconds": 0})
    loop.until_on(Residency.UNLOADED)
    loop.apply("tiny", mode="Paused", policy={"offloadAfterSeconds": 0, "minResidentSeconds": 0})
    eventually("nothing acts any more", lambda: _stays_after_a_use(loop))


def test_a_restarted_model_process_is_lent_its_policy_again(loop: Loop) -> None:
    loop.apply("tiny", policy={"offloadAfterSeconds": 0})
    loop.ask()
    loop.until_on(Residency.CPU)
    eventually("the transition is known", lambda: loop.status("tiny").get("lastTransition", {}).get("to") == "CPU")
    loop.replica.server.stop()
    loop.replica.server.start()
    loop.stage.wait_until_ready()

    def acts_by_itself() -> bool:
        loop.ask()
        last = loop.until_on(Residency.CPU).last_transition
        return last is not None and last.trigger is Trigger.AFTER_TASK

    # Before the loan comes, the operator's own orders offload it a little later.
    eventually("the policy acts in the new process", acts_by_itself)
    _delete_until_nothing_acts(loop)


def _delete_until_nothing_acts(loop: Loop) -> None:
    loop.kubectl("delete", "dmm", "tiny")
    eventually("the policy is withdrawn", lambda: _stays_after_a_use(loop))


def _stays_after_a_use(loop: Loop) -> bool:
    loop.ask()
    awake_since = time.monotonic()
    while time.monotonic() - awake_since < 1.0:
        seen = loop.snapshot()
        if seen.residency is not Residency.GPU or seen.transition is not None:
            return False
    return True


def test_a_killed_operator_is_not_noticed_and_its_successor_goes_on(loop: Loop, users: Users) -> None:
    operator = loop.stage.operator
    assert operator is not None
    loop.apply("tiny", residency="Unloaded", policy={"minResidentSeconds": 0})
    eventually("it has acted", lambda: loop.snapshot().last_transition)
    operator.kill()
    operator.stop()
    users.until_asked(6)
    before = loop.snapshot().last_transition
    operator.start()

    def ordered_again() -> bool:
        last = loop.snapshot().last_transition
        return last is not None and last != before and last.trigger is Trigger.MANUAL

    eventually("the successor goes on", ordered_again)
    users.until_asked(6)


def test_deleting_works_at_once_with_the_operator_dead_and_leaves_no_bookkeeping(loop: Loop) -> None:
    operator = loop.stage.operator
    assert operator is not None
    loop.apply("tiny", policy=LADDER)
    loop.ask()
    eventually("the operator has seen it", lambda: loop.status("tiny").get("conditions"))
    managed = json.loads(loop.kubectl("get", "dmm", "tiny", "-o", "json"))
    pods = json.loads(loop.kubectl("get", "pods", "-o", "json"))["items"]
    for thing in (managed, *pods):
        assert "finalizers" not in thing["metadata"]
        notes = thing["metadata"].get("annotations", {})
        assert set(notes) <= {"kubectl.kubernetes.io/last-applied-configuration"}
    assert "kopf" not in json.dumps(managed["status"])
    operator.kill()
    loop.kubectl("delete", "dmm", "tiny", "--timeout=5s")
    assert loop.ask()
    operator.stop()


def test_a_deleted_and_recreated_managed_model_works_at_once(loop: Loop) -> None:
    loop.apply("tiny", policy={"offloadAfterSeconds": 3, "minResidentSeconds": 0})
    for seconds in (4, 5, 6):  # generation 4
        loop.apply("tiny", policy={"offloadAfterSeconds": seconds, "minResidentSeconds": 0})
    loop.ask()
    loop.until_on(Residency.CPU)
    loop.kubectl("delete", "dmm", "tiny")
    loop.apply("tiny", policy={"offloadAfterSeconds": 3, "minResidentSeconds": 0})
    loop.ask()
    loop.until_on(Residency.CPU)
