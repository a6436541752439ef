"""`ResidencyManager`: the public API. Registers models and keeps each where it should be."""

import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from dormouse_contract.defaults import (
    AFTER_TASK,
    MAX_WAITING,
    SERVER_MIN_RESIDENT_SECONDS,
    TURN_SECONDS,
    WAKE_BUDGET_SECONDS,
)
from dormouse_contract.wire import MODEL_NAME_PATTERN
from fastapi import APIRouter, FastAPI

from .arguments import check_callable, check_choice, check_fastapi, check_seconds_setting, check_text, check_turn
from .engines.torch.checks.canary import Canary
from .engines.torch.checks.canary import checked as checked_canary
from .engines.torch.device import DeviceBackend
from .engines.torch.open_device import open_device
from .engines.torch.options import UnloadChanges, WeightsOptions
from .engines.torch.process import TorchProcess
from .engines.torch.sharing.bundle import MirrorMode
from .engines.torch.weights import Weights
from .errors import ConfigurationError, ForkedProcess, NoSuchModel
from .lifecycle import background
from .lifecycle.idle_timer import IdleTimer
from .lifecycle.registry import Registry
from .lifecycle.room.arbiter import Arbiter
from .lifecycle.settings import AfterTask, SlotSettings
from .lifecycle.slot import Slot
from .model import Model
from .server.authority import token_authority
from .server.install import install_routes
from .server.routes import control_router
from .server.socket import serve_socket

T = TypeVar("T")


class ResidencyManager(Registry):
    """The models of this process on one device.

    device: "auto" (the CUDA device, or an error that names the choices), "cuda:0", "sim", "sim:4GiB",
        "sim:4GiB@/path", or "sim-strict", which refuses to mix with the CPU as a GPU does.
    idle_timeout, unload_timeout: seconds until GPU → CPU and → Unloaded; None is never. Defaults for
        models that set none of their own.
    after_task: "offload" takes the weights off the GPU when the last use ends, "keep" leaves them.
    turn: seconds that a model which lacks room waits for one that is never at rest, before that one is drained;
        `math.inf` for ever. Default for models that set none of their own.
    starting: True keeps `/readyz` at 503 until `started()` is called; for who serves an app of its own.
    socket: path of the control socket for a sidecar; None takes `DORMOUSE_SOCKET`, "" is none. With it,
        the manager serves the socket from a thread and loop of its own.
    gpu_arbiter: folder in which the processes of this user on one GPU make room for each other; None takes
        `DORMOUSE_GPU_ARBITER`, "" is none.
    max_waiting: so many requests may wait for one model to wake; the next ones get `QueueFull` (503) at once.

    Raises `ConfigurationError` for a device or a setting that can't work, or a socket that another
    process serves.
    """

    device: DeviceBackend

    def __init__(
        self,
        device: str = "auto",
        *,
        idle_timeout: float | None = None,
        unload_timeout: float | None = None,
        after_task: AfterTask = AFTER_TASK,
        min_resident: float = SERVER_MIN_RESIDENT_SECONDS,
        wake_budget: float = WAKE_BUDGET_SECONDS,
        turn: float = TURN_SECONDS,
        starting: bool = False,
        socket: str | None = None,
        gpu_arbiter: str | None = None,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        check_text("device", device, "cuda:0")
        for setting, seconds in (
            ("idle_timeout", idle_timeout),
            ("unload_timeout", unload_timeout),
            ("min_resident", min_resident),
            ("wake_budget", wake_budget),
        ):
            check_seconds_setting(setting, seconds)
        check_turn("turn", turn)
        super().__init__(open_device(device), starting=starting)
        self._settings = _checked(
            SlotSettings(
                _never(idle_timeout), _never(unload_timeout), after_task, min_resident, wake_budget, max_waiting, turn
            )
        )
        self._models: dict[str, Model[Any]] = {}
        self._arbiter = arbiter = Arbiter(self.slots, self.device.memory)
        self._process = TorchProcess(
            self.device,
            make_room=arbiter.make_room,
            held_for_others=arbiter.held_for_others,
            got_room=arbiter.got_room,
        )
        self._idle_timer = IdleTimer(self.slots)
        folder = os.environ.get("DORMOUSE_GPU_ARBITER", "") if gpu_arbiter is None else gpu_arbiter
        if folder:
            self._arbiter.join(folder, self.device.gpu_uuid)
        path = os.environ.get("DORMOUSE_SOCKET", "") if socket is None else socket
        self._socket = path
        self._close_socket: Callable[[], None] = serve_socket(self, path) if path else lambda: None

    def register(
        self,
        name: str,
        load: Callable[[], T],
        *,
        modules: Callable[[T], tuple[object, ...]] | None = None,
        frozen: bool = False,
        unload_changes: UnloadChanges = "refuse",
        mirror: MirrorMode = "auto",
        warm_up: Callable[[T], object] | None = None,
        canary: Canary | None = None,
        stable_addresses: bool = False,
        idle_timeout: float | None = None,
        unload_timeout: float | None = None,
        after_task: AfterTask | None = None,
        turn: float | None = None,
    ) -> Model[T]:
        """Make a model known. Nothing is loaded until the first use.

        load: gives the model on the CPU: an nn.Module, or an object that holds modules.
        modules: picks from what `load` gave what is to move, and nothing else moves then: modules, or objects whose
            tensors are to move as well. None: all that is found; `Model.moved_apart` and the log name the rest.
        frozen: a promise that the weights never change; skips the checksum, and changes are then lost.
        unload_changes: "refuse" keeps changed weights in host RAM (`ModelChanged`), "discard" drops them.
        mirror: "keep" holds a copy of the weights in host RAM from the load on, so that offloading copies nothing;
            "drop" holds one only while the weights are not on the GPU; "auto" keeps it while host RAM allows.
        warm_up: called with the model after each restore, counted in the restore time.
        canary: (input, digest): after each restore `digest(model(input))` must be that, or nobody is let in. The input
            may be a function of the model, the digest None for that of the first answer.
        stable_addresses: the weights come back to the same device addresses after each restore, as CUDA graphs and
            compiled code that captured them need. Not for modules that several registered models share.
        idle_timeout, unload_timeout, turn: seconds, `math.inf` for never, None for the manager's default.

        Raises `ConfigurationError` for a name that is taken or malformed, or settings that can't work.
        """
        if not isinstance(name, str) or not re.fullmatch(MODEL_NAME_PATTERN, name):
            raise ConfigurationError(
                f"model name {name!r}: write lower-case letters, digits and inner hyphens, at most 63 characters"
            )
        if not callable(load):
            raise ConfigurationError(f"model {name!r}: load is {load!r}; give a function that returns the model")
        check_seconds_setting(f"model {name!r}: idle_timeout", idle_timeout)
        check_seconds_setting(f"model {name!r}: unload_timeout", unload_timeout)
        check_turn(f"model {name!r}: turn", turn)
        check_callable(f"model {name!r}: modules", modules, "a function that picks the modules of what load gave")
        check_callable(f"model {name!r}: warm_up", warm_up, "a function that is called with the model")
        check_choice(f"model {name!r}: unload_changes", unload_changes, ("refuse", "discard"))
        check_choice(f"model {name!r}: mirror", mirror, ("auto", "keep", "drop"))
        options: WeightsOptions[T] = WeightsOptions(
            modules, frozen, unload_changes, mirror, warm_up, checked_canary(canary, name), stable_addresses
        )
        own = self._settings
        if idle_timeout is not None:
            own = replace(own, idle_timeout_seconds=_never(idle_timeout))
        if unload_timeout is not None:
            own = replace(own, unload_timeout_seconds=_never(unload_timeout))
        if after_task is not None:
            own = replace(own, after_task=after_task)
        if turn is not None:
            own = replace(own, turn_seconds=turn)
        weights = Weights(name, load, self._process, options)
        slot: Slot[T] = Slot(name, weights, _checked(own), self.telemetry, changed=self._slot_changed)
        self.add(slot)
        self._models[name] = model = Model(slot, weights)
        return model

    def begin_anew(self) -> None:
        """In a forked child: every model is unloaded, or refused where the parent alone can have it."""
        super().begin_anew()
        refusal: ForkedProcess | None = None
        if not self.device.simulated:
            refusal = ForkedProcess(
                f"opened {self.device.name}",
                "CUDA does not survive a fork: start workers with spawn, or gunicorn without --preload",
            )
            self.device.forked()
        elif self._socket:
            self._close_socket()
            refusal = ForkedProcess(
                f"serves the control socket {self._socket}",
                "One model process per socket: run one worker, or give each its own DORMOUSE_SOCKET without --preload",
            )
        if refusal is not None:
            for slot in self.slots():
                slot.refuse(refusal)

    def __getitem__(self, name: str) -> Model[Any]:
        try:
            return self._models[name]
        except KeyError:
            raise NoSuchModel(name, list(self._models)) from None

    def __iter__(self) -> Iterator[Model[Any]]:
        return iter(tuple(self._models.values()))

    def __len__(self) -> int:
        return len(self._models)

    def router(self, prefix: str = "/dormouse") -> APIRouter:
        """The control and metrics routes alone. They change state only with `DORMOUSE_PANEL_TOKEN`."""
        return control_router(self, prefix, token_authority())

    def install(self, app: FastAPI, prefix: str = "/dormouse") -> None:
        """Routes, `WakeTimeout` → 503 with Retry-After, and drain at shutdown, in an app you have."""
        check_fastapi(app)
        install_routes(self, app, prefix)

    def _slot_changed(self, slot: Slot[Any]) -> None:
        background.start_missing()
        self._idle_timer.slot_changed(slot)
        self._arbiter.slot_changed(slot)

    def close(self) -> None:
        """Stop the timers and the sockets. Models stay usable where they are."""
        self.drain()
        self._idle_timer.close()
        self._arbiter.close()
        self._close_socket()


def _never(seconds: float | None) -> float | None:
    return None if seconds is None or math.isinf(seconds) else seconds


def _checked(settings: SlotSettings) -> SlotSettings:
    if settings.after_task not in ("keep", "offload"):
        raise ConfigurationError(f"after_task is {settings.after_task!r}; write 'keep' or 'offload'")
    try:
        settings.policy()
        replace(settings, after_task="keep").policy()
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    return settings
