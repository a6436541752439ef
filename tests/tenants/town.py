"""The stage: a real API server and Prometheus, the operator as a process, honest tenants, and room for a bad one."""

from __future__ import annotations

import math
import os
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from dormouse_operator.keys.trust import CONFIG_MAP_NAME
from dormouse_sidecar.identity import Identity
from dormouse_sidecar.tls import server_context

from localcluster.cluster import LocalCluster
from localcluster.errors import ApiRefused
from localcluster.pods import register_pod
from localcluster.prometheus import Target
from tests.operator.world import OPERATOR_NAMESPACE, SIDECAR, OperatorProcess, operator_kubeconfig
from tests.waiting import eventually

from .attack import Attack
from .bad import SIDECARS_JOB, BadTenant
from .honest import MODEL, OFFLOAD_AFTER_SECONDS, HonestPod, HonestTenants
from .listener import Listener
from .observer import Observer
from .places import Places
from .verdict import LATE, Witnessed, bound, findings, p99

NAMESPACES = 4
MODELS_EACH = 5
TICK_SECONDS = 1.0
BASELINE_SECONDS = 12.0
# Conditions wait until a trouble has settled, and are written at most every 10 s.
NAMED_WITHIN_SECONDS = 15.0
HONEST_JOB = "honest"
# A loop that gives nobody a turn for long leads no more, and then orders nothing.
LEASE = ("--lease=on",)
# As the chart sets it to its own jobs.
SELECTOR = (f'--prometheus-selector=job="{SIDECARS_JOB}"',)
TRIES = 3
PROGRAM = ("-m", "dormouse_operator.cli")


class Town:
    """`with Town() as town:`. `baseline` is the honest p99 with nobody bad, seconds."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._program: Sequence[str] = PROGRAM
        self._places = Places()
        self._witnessed = 0
        self.baseline = math.nan

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.cluster = stack.enter_context(LocalCluster(scrape_interval_seconds=TICK_SECONDS))
            # A thread each, so that whatever the bad one does in its own is not the honest ones' delay.
            honest_listener, self._bad_listener = Listener(), Listener()
            stack.callback(self._bad_listener.close)
            stack.callback(honest_listener.close)
            self._kubeconfig = operator_kubeconfig(self.cluster.control_plane)
            self.honest = HonestTenants([*self._settle()], honest_listener)
            self.honest.serve_metrics(self._places.metrics_port)
            self._start_operator()
            stack.callback(lambda: self.operator.kill())
            self._tls = self._trusting_the_operator()
            self.honest.serve_control(self._places.control_port, self._tls)
            self.cluster.prometheus.set_targets(HONEST_JOB, self._targets())
            eventually("each honest model was ordered once", lambda: all(pod.delays for pod in self.honest.pods))
            self.baseline = self.measure_baseline()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start_operator(self) -> None:
        flags = [f"--control-port={self._places.control_port}", *LEASE, *SELECTOR]
        url, self._log = self.cluster.prometheus.url, self.cluster.directory / "operator.log"
        self.operator = OperatorProcess(self._kubeconfig, url, self._log, flags=flags, program=self._program)
        self.operator.start()

    def operated_by(self, program: Sequence[str] = PROGRAM) -> None:
        """By this operator from now on, with the honest tenants served; another one ends."""
        if program != self._program:
            self._program = program
            self._change_operator()

    def measure_baseline(self) -> float:
        began = time.time()
        time.sleep(BASELINE_SECONDS)
        return p99(self.honest.delays(began, time.time()))

    def witness(self, attack: Attack) -> Witnessed:
        """The fleet from the moment at which the bad one begins, until it was named or should have been."""
        self.honest.take_strays()
        self._witnessed += 1
        bad = BadTenant(
            # Another one each time: what is left of the one before may still be going.
            f"bad-{attack.name}-{self._witnessed}",
            self.cluster,
            self._bad_listener,
            self._places,
            self._tls,
            [(pod.namespace, pod.name, pod.ip) for pod in self.honest.pods],
            f"http://127.0.0.1:{self.operator.metrics_port}",
        )
        began = time.time()
        try:
            with Observer(self.operator.metrics_port, self._log) as observer:
                attack.begin(bad)
                time.sleep(attack.seconds)
                unnamed = _unnamed(bad, observer, attack)
                ended = time.time()
                return Witnessed(
                    seconds=ended - began,
                    delays=self.honest.delays(began, ended),
                    health=tuple(observer.health),
                    log=observer.lines(),
                    strays=self.honest.take_strays(),
                    unnamed=unnamed,
                )
        finally:
            bad.close()

    def judge(self, attack: Attack, seen: Witnessed) -> list[str]:
        return findings(seen, self.baseline, TICK_SECONDS, attack.forged)

    def attacked_by(self, attack: Attack) -> tuple[Witnessed, list[str]]:
        """What was seen, and what does not hold. A busy machine may make a try late; a lack of isolation makes each."""
        for _ in range(TRIES):
            seen = self.witness(attack)
            found = self._judge_patiently(attack, seen)
            self.recover()
            if not any(each.startswith(LATE) for each in found):
                break
        return seen, found

    def _judge_patiently(self, attack: Attack, seen: Witnessed) -> list[str]:
        """With the baseline of now too where the one from before says late: the machine may have become slower."""
        if seen.p99 <= bound(self.baseline, TICK_SECONDS):
            return self.judge(attack, seen)
        self.recover()
        slower = max(self.baseline, self.measure_baseline())
        return findings(seen, slower, TICK_SECONDS, attack.forged)

    def recover(self) -> None:
        """Until the honest ones are served in time again, with a new operator where this one can't."""
        deadline = time.monotonic() + 8
        while self.honest.waiting_seconds() > 2 * TICK_SECONDS:
            if time.monotonic() > deadline:
                self._change_operator()
                return
            time.sleep(0.1)

    def _change_operator(self) -> None:
        """In order where it can, so that the next one need not wait for the Lease to run out."""
        pid = self.operator.pid
        try:
            self.operator.terminate()
        except subprocess.TimeoutExpired:
            os.kill(pid, signal.SIGKILL)
        self._start_operator()
        began = time.time()
        eventually(
            "the new operator has ordered each honest model once",
            lambda: all(pod.delays[-1][0] > began for pod in self.honest.pods),
        )

    def _settle(self) -> Iterator[HonestPod]:
        api = self.cluster.control_plane.api
        for number in range(NAMESPACES):
            namespace = f"honest-{number}"
            api.create_namespace(namespace)
            for model in range(MODELS_EACH):
                name = f"model-{model}"
                pod = HonestPod(namespace, name, self._places.next_ip())
                pod.uid = register_pod(
                    self.cluster.control_plane,
                    namespace=namespace,
                    name=name,
                    ip=pod.ip,
                    labels={"app": name},
                    spec=SIDECAR,
                )
                policy = {"offloadAfterSeconds": OFFLOAD_AFTER_SECONDS, "minResidentSeconds": 0}
                body = {
                    "apiVersion": "dormouse.dev/v1alpha1",
                    "kind": "ManagedModel",
                    "metadata": {"name": name},
                    "spec": {"selector": {"matchLabels": {"app": name}}, "model": MODEL, "policy": policy},
                }
                api.request("POST", f"/apis/dormouse.dev/v1alpha1/namespaces/{namespace}/managedmodels", body)
                yield pod

    def _targets(self) -> list[Target]:
        return [
            Target(
                f"{pod.ip}:{self._places.metrics_port}",
                {"job": SIDECARS_JOB, "namespace": pod.namespace, "pod": pod.name},
            )
            for pod in self.honest.pods
        ]

    def _trusting_the_operator(self) -> ssl.SSLContext:
        path = f"/api/v1/namespaces/honest-0/configmaps/{CONFIG_MAP_NAME}"

        def published() -> str:
            try:
                found = self.cluster.control_plane.api.request("GET", path)
            except ApiRefused:
                return ""
            return str(found["data"][f"{OPERATOR_NAMESPACE}.crt"])

        certificate = eventually("the trust is published", published)
        return server_context(Identity.make("pods"), [ssl.PEM_cert_to_DER_cert(certificate)])


def _unnamed(bad: BadTenant, observer: Observer, attack: Attack) -> list[str]:
    reasons, metrics = attack.named.reasons, attack.named.metrics
    deadline = time.monotonic() + NAMED_WITHIN_SECONDS
    while True:
        found = bad.reasons() if reasons else set()
        missing: list[str] = []
        if reasons and not reasons & found:
            missing.append(f"no condition says {' or '.join(sorted(reasons))}; they say {', '.join(sorted(found))}")
        if metrics and not observer.shown(metrics, bad.namespace):
            missing.append(f"no metric of {', '.join(metrics)} names {bad.namespace}")
        if not missing or time.monotonic() > deadline:
            return missing
        time.sleep(0.5)
