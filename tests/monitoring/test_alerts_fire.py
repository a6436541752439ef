"""Each alert fires for its cause on a real Prometheus, with the times of `hurried.py`."""

from .conftest import NAMESPACE, Watched


def test_wakes_that_fail(watched: Watched) -> None:
    assert watched.ask("fails") == 503
    watched.firing("DormouseWakeFailing", model="fails", namespace=NAMESPACE)


def test_wakes_that_take_long(watched: Watched) -> None:
    watched.firing("DormouseWakeSlow", model="slow")


def test_a_transition_that_hangs(watched: Watched) -> None:
    watched.firing("DormouseStuckTransitioning", model="hangs")


def test_a_model_that_the_ladder_sends_up_and_down(watched: Watched) -> None:
    watched.firing("DormouseFlapping", model="calm")


def test_host_ram_that_is_all_but_full(watched: Watched) -> None:
    watched.firing("DormouseHostMemoryBudgetExceeded", namespace=NAMESPACE)


def test_memory_that_did_not_come_back(watched: Watched) -> None:
    watched.firing("DormouseReleaseNotVerified", model="shares")


def test_a_certificate_that_ends_soon(watched: Watched) -> None:
    watched.firing("DormouseCertificateExpiring")


def test_a_replica_that_nobody_can_see(watched: Watched) -> None:
    watched.replica.sidecar.stop()
    try:
        watched.firing("DormouseIdleSignalMissing", name="calm")
    finally:
        watched.replica.sidecar.start()


def test_an_operator_that_is_gone(watched: Watched) -> None:
    operator = watched.stage.operator
    assert operator is not None
    operator.stop()
    try:
        watched.firing("DormouseReconcileStalled")
        assert watched.ask("calm") == 200
    finally:
        operator.start()


def test_the_model_that_is_well_has_no_alert(watched: Watched) -> None:
    assert not watched.prometheus.query('ALERTS{model="stays"}')
