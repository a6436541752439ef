"""The world of one simulated day: two operators, a dozen replicas, users, and everything that may go wrong.

Everything is drawn from one seed. The last two hours are quiet, so that at midnight the world must be exactly
as the ManagedModels say.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx
from dormouse_contract import Observation, Residency, plan
from dormouse_contract.managed_model import ManagedModel, managed_model
from dormouse_contract.wire import OrderStamp
from dormouse_modelserver.lifecycle.transition import Transition
from dormouse_operator.loans import terms_for

from .api_server import MODELS, Body, SimApi
from .judge import Judge
from .operators import OPERATOR_NAMESPACE, Pace, SimOperator, sizes
from .prometheus import SimPrometheus
from .replica import SimPod, VirtualSlot, in_the_loop_alone
from .virtual_time import unix_now

HOUR = 3600.0
QUIET_FROM, ASLEEP_FROM, DAY = 22 * HOUR, 23 * HOUR, 24 * HOUR
LEASE_SECONDS, TAKEOVER_SECONDS = 15.0, 20.0
TRUST_ARRIVES_SECONDS = 60.0
SLACK_SECONDS = 20.0
APPS: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {
    ("speech", "tts"): (2, ("tts", "asr")),
    ("vision", "detector"): (2, ("detector",)),
    ("vision", "captions"): (1, ("large", "small")),
    ("chat", "quick"): (1, ("quick",)),
}
OWNERS: dict[tuple[str, str], Body] = {
    ("speech", "tts"): {"app": "tts", "model": "tts"},
    ("speech", "rest"): {"app": "tts"},
    ("vision", "detector"): {"app": "detector", "model": "detector"},
    ("vision", "captions"): {"app": "captions"},
    ("chat", "quick"): {"app": "quick", "model": "quick"},
}


class ControlNetwork(httpx.AsyncBaseTransport):
    """From the operators to the pods: partitions, slow pods, recycled addresses, doors that are still closed."""

    def __init__(self, day: Day, who: str) -> None:
        self._day, self._who = day, who

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        pod = next((each for each in self._day.pods if each.alive and each.ip == request.url.host), None)
        if pod is None or not pod.reachable:
            await asyncio.sleep(3)
            raise httpx.ConnectTimeout("nobody answers", request=request)
        await asyncio.sleep(pod.delay)
        if request.url.path == "/healthz":
            return httpx.Response(200, text="ok")
        if not self._day.trusts(pod):
            raise httpx.ConnectError("the control port is closed", request=request)
        body = await request.aread()
        self._day.said(self._who, pod, request.method, request.url.path, body)
        status, text = await pod.answer(request.method, request.url.path, body)
        self._day.judge.note(f"{self._who} {request.method} {request.url.path} of {pod.name}: {status} {_brief(body)}")
        if pod.delay > 1 and self._day.rng.random() < 0.3:
            raise httpx.ReadError("it was done, and the answer is lost", request=request)
        return httpx.Response(status, content=text)


def _brief(body: bytes) -> str:
    """What an order or a loan says, without its stamps."""
    said = json.loads(body or b"{}")
    return " ".join(f"{k}={v}" for k, v in said.items() if v is not None and k not in ("order", "podUID", "reason"))


@dataclass
class Day:
    seed: int
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self.judge = Judge()
        self.api = SimApi()
        self.pods: list[SimPod] = []
        self.prometheus = SimPrometheus(lambda: self.pods, self.pace.scrape)
        self.operators = [
            SimOperator(
                name, self.api, self.prometheus, ControlNetwork(self, name), self.pace, Random(f"{self.seed}/{name}")
            )
            for name in ("a", "b")
        ]
        self.term = 0
        self.split_brain = False
        self.moves: Counter[tuple[str, str, str]] = Counter()
        self.hand_edits: Counter[str] = Counter()
        self._pod_number = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def live(self) -> Judge:
        with in_the_loop_alone():
            await self._live()
        return self.judge

    async def _live(self) -> None:
        for (namespace, app), (count, models) in APPS.items():
            for _ in range(count):
                self.add_pod(namespace, app, models)
        for key in OWNERS:
            self.apply(key, self.random_spec(key))
        self.spawn(self.prometheus.run())
        self.spawn(self._elect())
        for kind in _FAULTS:
            self.spawn(self._trouble(kind))
        while unix_now() < self.midnight and not self.judge.violations:
            await asyncio.sleep(HOUR / 2)
            self._check_loans()
        if not self.judge.violations:
            self._check_midnight()
        for operator in self.operators:
            await operator.kill()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # The cast ------------------------------------------------------------------------------------

    @property
    def midnight(self) -> float:
        return unix_now() - asyncio.get_running_loop().time() + DAY

    @property
    def elapsed(self) -> float:
        return asyncio.get_running_loop().time()

    def spawn(self, what: Any) -> None:
        task = asyncio.get_running_loop().create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.judge.violated(f"the simulation itself broke: {task.exception()!r}")

    def add_pod(self, namespace: str, app: str, models: tuple[str, ...], ip: str | None = None) -> SimPod:
        self._pod_number += 1
        number = self._pod_number
        pod = SimPod(
            namespace,
            f"{app}-{number}",
            f"pod-{number}",
            ip or f"10.0.0.{number}",
            {"app": app},
            models,
            Random(f"{self.seed}/pod/{number}"),
            self.judge,
            self._began,
            skew=self.rng.uniform(-20, 20),
        )
        pod.start()
        self.pods.append(pod)
        container = {"name": "dormouse-sidecar"}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod.name}"
        self.api.put(
            path,
            {
                "metadata": {"labels": pod.labels, "uid": pod.uid},
                "spec": {"containers": [container]},
                "status": {"phase": "Running", "podIP": pod.ip},
            },
        )
        for name in models:
            self.spawn(self._demand(pod, name))
        return pod

    def apply(self, key: tuple[str, str], spec: Body) -> None:
        made = self.api.put(f"{MODELS.format(key[0])}/{key[1]}", {"spec": spec})
        self.judge.note(f"user applies {key[1]} generation {made['metadata']['generation']}: {spec}")

    def random_spec(self, key: tuple[str, str], quiet: bool = False) -> Body:
        rng, about = self.rng, OWNERS[key]
        offload = 0 if key[1] == "quick" else rng.choice([60, 120, 300, 600])
        spec: Body = {
            "selector": {"matchLabels": {"app": about["app"]}},
            "policy": {
                "offloadAfterSeconds": offload,
                "unloadAfterSeconds": offload + rng.choice([300, 900]),
                "minResidentSeconds": rng.choice([0, 60, 240]),
                "wakeBudgetSeconds": rng.choice([30, 60]),
            },
        }
        if "model" in about:
            spec["model"] = about["model"]
        if quiet:
            return spec
        if rng.random() < 0.25:
            spec["mode"] = rng.choice(["Paused", "Observe"])
        if rng.random() < 0.25:
            spec["residency"] = rng.choice(["GPU", "CPU", "Unloaded"])
            self.hand_edits[key[0]] += 1
        if rng.random() < 0.3:
            hour = rng.randrange(24)
            zone = rng.choice(["UTC", "Asia/Shanghai", "America/New_York"])
            window = {"cron": f"0 {hour} * * *", "timeZone": zone, "durationSeconds": 1800, "residency": "GPU"}
            spec["policy"]["schedule"] = [window]
            self.hand_edits[key[0]] += 2
        return spec

    # Life ----------------------------------------------------------------------------------------

    async def _demand(self, pod: SimPod, name: str) -> None:
        """Bursts by day, seldom by night; each replica has its own lull."""
        rng = Random(f"{self.seed}/demand/{pod.name}/{name}")
        while pod.alive and self.elapsed < ASLEEP_FROM:
            by_day = 0.5 - 0.5 * math.cos(2 * math.pi * self.elapsed / DAY)
            await asyncio.sleep(rng.expovariate((0.05 + by_day) / 900))
            for _ in range(rng.randint(1, 5)):
                if pod.alive and self.elapsed < ASLEEP_FROM:
                    self.spawn(pod.use(name, rng.expovariate(1 / 8)))
                    await asyncio.sleep(rng.expovariate(1 / 20))

    async def _elect(self) -> None:
        """What the Lease does: who can't reach the API server stops acting, and another takes over later."""
        leader: SimOperator | None = None
        lost_at = 0.0
        while True:
            if leader is not None and (leader.kube.down or leader.kube.hangs or not leader.running):
                lost_at = lost_at or unix_now()
                if unix_now() - lost_at >= LEASE_SECONDS or not leader.running:
                    self.judge.note(f"operator {leader.name} leads no more")
                    if not self.split_brain:
                        await leader.kill()
                    leader, lost_at = None, unix_now()
            elif leader is not None:
                lost_at = 0.0
            if leader is None and unix_now() - lost_at >= TAKEOVER_SECONDS - LEASE_SECONDS:
                able = [each for each in self.operators if not (each.kube.down or each.kube.hangs or each.running)]
                if able:
                    leader = self.rng.choice(able)
                    self.term += 1
                    self.judge.note(f"operator {leader.name} leads, term {self.term}")
                    self.judge.count("leaders")
                    leader.start(self.term)
                    lost_at = 0.0
            self.leader = leader
            await asyncio.sleep(2)

    async def _trouble(self, kind: str) -> None:
        rng = Random(f"{self.seed}/{kind}")
        every, fault = _FAULTS[kind]
        while True:
            await asyncio.sleep(rng.expovariate(1 / (every * HOUR)))
            if self.elapsed > QUIET_FROM - 0.5 * HOUR:
                break
            self.judge.note(f"fault: {kind}")
            self.judge.count(kind)
            await fault(self, rng)
        if kind == "edit":
            await asyncio.sleep(QUIET_FROM - self.elapsed)
            for key in OWNERS:
                self.apply(key, self.random_spec(key, quiet=True))

    # Judgement -----------------------------------------------------------------------------------

    def trusts(self, pod: SimPod) -> bool:
        """A kubelet takes its time to bring a ConfigMap to a pod."""
        found = self.api.objects.get(f"/api/v1/namespaces/{pod.namespace}/configmaps/dormouse-operator-trust")
        return found is not None and self.elapsed > TRUST_ARRIVES_SECONDS

    def said(self, who: str, pod: SimPod, method: str, path: str, body: bytes) -> None:
        """An order is on its way to a pod: may it have been sent at all?"""
        if method != "PUT" or not path.endswith("/residency"):
            return
        order = httpx.Response(200, content=body).json()
        model = path.split("/")[-2]
        slot = pod.slots.get(model)
        self.judge.count(f"orders {order['trigger']}")
        owner, operator = order["order"]["owner"], next(each for each in self.operators if each.name == who)
        now = unix_now()
        where = f"{order['desired']} for {pod.name}/{model} ({order['reason']})"
        withdrawn = self._wanted_until(owner)
        if now - max(withdrawn, operator.line.up_since) > 2 * self.pace.tick + SLACK_SECONDS:
            self.judge.violated(f"order {where} of an owner that is deleted, paused or observing since {withdrawn:.0f}")
        if slot is None or not slot.view.snapshot().residency.is_above(Residency(order["desired"])):
            return
        limit = self.pace.fresh_for + self.pace.tick + SLACK_SECONDS
        age = now - self.prometheus.last_good.get(pod.uid, -math.inf)
        if age > limit or now - operator.last_figures > 1.5 * self.pace.tick + SLACK_SECONDS:
            self.judge.violated(f"demotion {where} on an unknown signal: the last good scrape is {age:.0f} s old")

    def _wanted_until(self, uid: str) -> float:
        """Until when this owner wanted orders at all; infinity while it does."""
        if uid in self.api.deleted:
            return self.api.deleted[uid]
        body = next(b for b in self.api.of_kind("managedmodels") if b["metadata"]["uid"] == uid)
        if body["spec"].get("mode", "Active") == "Active":
            return math.inf
        since = math.inf
        for generation in range(body["metadata"]["generation"], 0, -1):
            spec, began = self.api.specs[(uid, generation)]
            if spec.get("mode", "Active") == "Active":
                break
            since = began
        return since

    def _began(self, pod: SimPod, slot: VirtualSlot, move: Transition) -> None:
        what = "wake" if move.wakes else "demotion"
        self.judge.note(f"{pod.name}/{slot.name}: {move.origin} → {move.to} by {move.trigger} ({move.reason})")
        self.judge.count(f"{what} {move.trigger}")
        hour = f"{self.elapsed // HOUR:.0f}"
        self.moves[(pod.name + "/" + slot.name, f"{what} {move.trigger}", hour)] += 1
        if move.wakes:
            if (
                move.trigger != "Demand"
                and self.moves[(pod.name + "/" + slot.name, f"{what} {move.trigger}", hour)] > 8
            ):
                self.judge.violated(f"{pod.name}/{slot.name} flaps: woken by {move.trigger} again and again")
            return
        outlook = slot.view.outlook()[1]
        if slot.in_use or slot.view.snapshot().waiting:
            self.judge.violated(f"{pod.name}/{slot.name} is demoted while in use")
        if move.trigger == "Idle" and move.origin is Residency.GPU and outlook.resident_since is not None:
            self._check_guard(pod, slot, slot.order, pod.clock() - outlook.resident_since)
        wakes = sum(
            n for (who, kind, _), n in self.moves.items() if who == f"{pod.name}/{slot.name}" and "wake" in kind
        )
        falls = sum(
            n for (who, kind, _), n in self.moves.items() if who == f"{pod.name}/{slot.name}" and "demo" in kind
        )
        if falls > 2 * (wakes + pod.restarts):
            self.judge.violated(f"{pod.name}/{slot.name} was demoted {falls} times after {wakes} wakes")

    def _check_guard(self, pod: SimPod, slot: VirtualSlot, order: OrderStamp | None, resident: float) -> None:
        if order is None:
            return
        spec, _ = self.api.specs[(order.owner, order.generation)]
        policy = spec.get("policy", {})
        skew = max(abs(each.skew - pod.skew) for each in self.operators) + 1
        if policy.get("offloadAfterSeconds") != 0 and resident < policy.get("minResidentSeconds", 60) - skew:
            self.judge.violated(
                f"{pod.name}/{slot.name} is demoted by the ladder {resident:.0f} s after a wake, generation "
                f"{order.generation} says {policy.get('minResidentSeconds', 60)} s"
            )

    def _check_loans(self) -> None:
        for pod in self.pods:
            for slot in pod.slots.values():
                loan = slot._state.lending.current(pod.clock()) if pod.alive else None
                if loan is None or loan.order is None:
                    continue
                for_seconds = unix_now() - self._wanted_until(loan.order.owner)
                if for_seconds > 3600 + SLACK_SECONDS:
                    self.judge.violated(
                        f"{pod.name}/{slot.name} keeps the loan of one that is gone for {for_seconds} s"
                    )

    # The end -------------------------------------------------------------------------------------

    def _check_midnight(self) -> None:
        owners = [managed_model(body) for body in self.api.of_kind("managedmodels")]
        alive = [pod for pod in self.pods if pod.alive]
        for pod in alive:
            for slot in pod.slots.values():
                self._check_replica(pod, slot, owners)
        for owner in owners:
            body = self.api.objects[f"{MODELS.format(owner.namespace)}/{owner.name}"]
            self._check_status(owner, body, alive)
        self._check_memory(len(alive), len(owners))

    def _check_replica(self, pod: SimPod, slot: VirtualSlot, owners: list[ManagedModel]) -> None:
        owner = _owner_of(pod, slot.name, owners)
        if owner is None:
            self.judge.violated(f"the simulation is wrong: nobody owns {pod.name}/{slot.name}")
            return
        snapshot, figures = slot.view.snapshot(), slot.view.figures()
        seen = Observation(snapshot.residency, snapshot.in_flight, figures.idle_since, 0.0)
        decision = plan(owner.policy, seen, pod.clock() - 120)
        if snapshot.residency is not decision.desired:
            self.judge.violated(f"at midnight {pod.name}/{slot.name} is on {snapshot.residency}: {decision.reason}")
        loan = slot._state.lending.current(pod.clock())
        terms = terms_for(owner.policy, self.pace.scrape, pod.clock())
        if terms is None or loan is None or loan.order is None or loan.order.owner != owner.uid:
            self.judge.violated(f"at midnight {pod.name}/{slot.name} has the loan {loan}, and its owner lends {terms}")

    def _check_status(self, owner: ManagedModel, body: Body, alive: list[SimPod]) -> None:
        status = body.get("status", {})
        at = [
            str(slot.view.snapshot().residency)
            for pod in alive
            for slot in pod.slots.values()
            if pod.namespace == owner.namespace and _owner_of(pod, slot.name, self._owners()) == owner
        ]
        expected = at[0] if len(set(at)) == 1 else "Mixed"
        ready = next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), {})
        seen = (status.get("residency"), status.get("observedGeneration"), status.get("replicas", {}).get("total"))
        if seen != (expected, owner.generation, len(at)):
            self.judge.violated(f"at midnight the status of {owner.name} is {seen}; the truth is {expected}, {len(at)}")
        if (ready.get("status"), ready.get("reason")) not in _SETTLED:
            self.judge.violated(f"at midnight {owner.name} is {ready}")

    def _owners(self) -> list[ManagedModel]:
        return [managed_model(body) for body in self.api.of_kind("managedmodels")]

    def _check_memory(self, pods: int, owners: int) -> None:
        limit = 6 * (2 * pods + owners) + 30
        for name, held in sizes(self.leader.parts["reconciler"]).items() if self.leader else ():
            if held > limit:
                self.judge.violated(f"{name} holds {held} entries for {pods} pods and {owners} ManagedModels: a leak")


# The one that takes the rest of a pod loses the model that another names.
_SETTLED = {("True", "AsDesired"), ("False", "Conflict")}


def _owner_of(pod: SimPod, model: str, owners: list[ManagedModel]) -> ManagedModel | None:
    mine = [
        owner
        for owner in owners
        if owner.namespace == pod.namespace
        and set(owner.selector) <= set(pod.labels.items())
        and owner.model in (None, model)
    ]
    return min(mine, key=lambda owner: owner.precedence, default=None)


# What goes wrong -------------------------------------------------------------------------------------


async def _edit(day: Day, rng: Random) -> None:
    key = rng.choice(list(OWNERS))
    day.apply(key, day.random_spec(key))


async def _recreate(day: Day, rng: Random) -> None:
    key = rng.choice(list(OWNERS))
    day.judge.note(f"user deletes {key[1]}")
    day.api.delete(f"{MODELS.format(key[0])}/{key[1]}")
    await asyncio.sleep(rng.choice([0.0, 1.0, 60.0, 900.0]))
    day.apply(key, day.random_spec(key))


async def _rival(day: Day, rng: Random) -> None:
    """A second one on the same model, for a while."""
    path = f"{MODELS.format('vision')}/rival"
    spec = day.random_spec(("vision", "detector"))
    day.api.put(path, {"spec": spec})
    await asyncio.sleep(rng.expovariate(1 / 600))
    day.api.delete(path)


async def _restart(day: Day, rng: Random) -> None:
    rng.choice([pod for pod in day.pods if pod.alive]).start()


async def _replace(day: Day, rng: Random) -> None:
    """Another pod in its place; often with the address of the old one."""
    pod = rng.choice([pod for pod in day.pods if pod.alive])
    pod.alive = False
    path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
    take_over = rng.random() < 0.5
    if take_over:
        day.add_pod(pod.namespace, pod.labels["app"], pod.names, pod.ip)
    day.api.delete(path)
    await asyncio.sleep(rng.expovariate(1 / 20))
    if not take_over:
        day.add_pod(pod.namespace, pod.labels["app"], pod.names)


async def _for_a_while(rng: Random, thing: object, name: str, value: object, mean_seconds: float) -> None:
    before = getattr(thing, name)
    setattr(thing, name, value)
    await asyncio.sleep(rng.expovariate(1 / mean_seconds))
    setattr(thing, name, before)


def _pod_fault(name: str, value: object, mean_seconds: float) -> Any:
    async def fault(day: Day, rng: Random) -> None:
        pod = rng.choice([pod for pod in day.pods if pod.alive])
        await _for_a_while(rng, pod, name, value, mean_seconds)

    return fault


async def _bad_mood(day: Day, rng: Random) -> None:
    mood = rng.choice(["down", "slow", "html", "401", "429", "500"])
    await _for_a_while(rng, day.prometheus, "mood", mood, 400)


async def _no_scrapes(day: Day, rng: Random) -> None:
    await _for_a_while(rng, day.prometheus, "scraping", False, 600)


async def _prometheus_skew(day: Day, rng: Random) -> None:
    day.prometheus.skew = rng.uniform(-30, 30)


async def _operator_skew(day: Day, rng: Random) -> None:
    rng.choice(day.operators).skew = rng.uniform(-20, 20)


async def _watch_cut(day: Day, rng: Random) -> None:
    operator = rng.choice(day.operators)
    operator.line.cut()
    await asyncio.sleep(rng.expovariate(1 / 30))
    operator.reconnect()


async def _partition(day: Day, rng: Random) -> None:
    """One operator, or both, lose the API server; its orders to pods may still get through."""
    hit = rng.sample(day.operators, rng.randint(1, 2))
    name = rng.choice(["down", "hangs"])
    for operator in hit:
        setattr(operator.kube, name, True)
        operator.line.cut()
    await asyncio.sleep(rng.expovariate(1 / 90))
    for operator in hit:
        setattr(operator.kube, name, False)
        operator.reconnect()


async def _refusals(day: Day, rng: Random) -> None:
    await asyncio.gather(*(_for_a_while(rng, each.kube, "refused", 0.4, 300) for each in day.operators))


async def _kill(day: Day, rng: Random) -> None:
    for operator in day.operators:
        await operator.kill()


async def _split_brain(day: Day, rng: Random) -> None:
    """A leader that does not notice: both act, each with its own term, until the older one is stopped."""
    old = day.leader
    if old is None:
        return
    day.split_brain = True
    old.kube.hangs = True
    await asyncio.sleep(LEASE_SECONDS + 30)
    old.kube.hangs = False
    await asyncio.sleep(rng.expovariate(1 / 300))
    day.split_brain = False
    if day.leader is not old:
        await old.kill()


# Mean hours between two of a kind, for the whole world.
_FAULTS: dict[str, tuple[float, Any]] = {
    "edit": (0.4, _edit),
    "recreate": (1.5, _recreate),
    "rival": (3, _rival),
    "model process restarts": (1.5, _restart),
    "pod is replaced": (0.7, _replace),
    "pod unreachable": (1.5, _pod_fault("reachable", False, 200)),
    "pod slow": (1.5, _pod_fault("delay", 4.0, 300)),
    "pod not scraped": (1.5, _pod_fault("scraped", False, 200)),
    "NaN": (2, _pod_fault("nan", True, 300)),
    "doubled series": (2, _pod_fault("doubled", True, 300)),
    "Prometheus fails": (1.5, _bad_mood),
    "Prometheus scrapes nothing": (2, _no_scrapes),
    "Prometheus' clock steps": (4, _prometheus_skew),
    "operator's clock steps": (3, _operator_skew),
    "watch cut": (1, _watch_cut),
    "API server out of reach": (2, _partition),
    "API server refuses": (2, _refusals),
    "operators killed": (2, _kill),
    "two lead at once": (4, _split_brain),
}
__all__ = ["OPERATOR_NAMESPACE", "Day"]
