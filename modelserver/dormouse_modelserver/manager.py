"""`ResidencyManager`: the public API. Registers models and keeps each where it should be."""

import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal, TypeVar

import torch
from dormouse_contract.wire import MODEL_NAME_PATTERN
from fastapi import APIRouter, FastAPI

from .engine.open_device import open_device
from .engine.weights import UnloadChanges, Weights
from .errors import ConfigurationError, NoSuchModel
from .keeper import Keeper
from .model import Model
from .roster import Roster
from .server.authority import token_authority
from .server.install import install_routes
from .server.routes import control_router
from .server.socket import serve_socket
from .settings import AfterTask, SlotSettings
from .slot import Slot

T = TypeVar("T")


class ResidencyManager(Roster):
    """The models of this process on one device.

    device: "auto" (the CUDA device, or an error that names the choices), "cuda:0", "sim", "sim:4GiB",
        "sim:4GiB@/path".
    idle_timeout, unload_timeout: seconds until GPU → CPU and → Unloaded; None is never. Defaults for
        models that set none of their own.
    after_task: "offload" takes the weights off the GPU when the last use ends, "keep" leaves them.
    starting: True keeps `/readyz` at 503 until `started()` is called; for who serves an app of its own.
    socket: path of the control socket for a sidecar; None takes `DORMOUSE_SOCKET`, "" is none. With it,
        the manager serves the socket from a thread and loop of its own.

    Raises `ConfigurationError` for a device or a setting that can't work, or a socket that another
    process serves.
    """

    def __init__(
        self,
        device: str = "auto",
        *,
        idle_timeout: float | None = None,
        unload_timeout: float | None = None,
        after_task: AfterTask = "keep",
        min_resident: float = 0.0,
        wake_budget: float = 30.0,
        starting: bool = False,
        socket: str | None = None,
    ) -> None:
        super().__init__(open_device(device), starting=starting)
        self._settings = _checked(
            SlotSettings(_never(idle_timeout), _never(unload_timeout), after_task, min_resident, wake_budget)
        )
        self._models: dict[str, Model[Any]] = {}
        self._keeper = Keeper(self.slots)
        path = os.environ.get("DORMOUSE_SOCKET", "") if socket is None else socket
        self._close_socket: Callable[[], None] = serve_socket(self, path) if path else lambda: None

    def register(
        self,
        name: str,
        load: Callable[[], T],
        *,
        modules: Callable[[T], tuple[torch.nn.Module, ...]] | None = None,
        frozen: bool = False,
        unload_changes: UnloadChanges = "refuse",
        mirror: Literal["auto", "keep", "drop"] = "auto",
        warm_up: Callable[[T], object] | None = None,
        canary: None = None,
        idle_timeout: float | None = None,
        unload_timeout: float | None = None,
        after_task: AfterTask | None = None,
    ) -> Model[T]:
        """Make a model known. Nothing is loaded until the first use.

        load: gives the model on the CPU: an nn.Module, or an object that holds modules.
        modules: picks the modules of what `load` gave, when they can't be found through its attributes.
        frozen: a promise that the weights never change; skips the checksum, and changes are then lost.
        unload_changes: "refuse" keeps changed weights in host RAM (`ModelChanged`), "discard" drops them.
        warm_up: called with the model after each restore, counted in the restore time.
        idle_timeout, unload_timeout: seconds, `math.inf` for never, None for the manager's default.

        Raises `ConfigurationError` for a name that is taken or malformed, or settings that can't work.
        """
        if not re.fullmatch(MODEL_NAME_PATTERN, name):
            raise ConfigurationError(
                f"model name {name!r}: write lower-case letters, digits and inner hyphens, at most 63 characters"
            )
        if not callable(load):
            raise ConfigurationError(f"model {name!r}: load is {load!r}; give a function that returns the model")
        if mirror == "drop" or canary is not None:
            raise ConfigurationError(f"model {name!r}: mirror='drop' and canary are not supported by this version")
        own = self._settings
        if idle_timeout is not None:
            own = replace(own, idle_timeout_seconds=_never(idle_timeout))
        if unload_timeout is not None:
            own = replace(own, unload_timeout_seconds=_never(unload_timeout))
        if after_task is not None:
            own = replace(own, after_task=after_task)
        weights = Weights(
            name, load, self.device, modules=modules, frozen=frozen, unload_changes=unload_changes, warm_up=warm_up
        )
        slot: Slot[T] = Slot(name, weights, _checked(own), self.telemetry, changed=self._keeper.slot_changed)
        self.add(slot)
        self._models[name] = model = Model(slot)
        return model

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
        install_routes(self, app, prefix)

    def close(self) -> None:
        """Stop the timers and the control socket. Models stay usable where they are."""
        self.drain()
        self._keeper.close()
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
