"""What can go wrong in the model process. `retryable` tells whether asking again later helps.

    DormouseError
    ├── ConfigurationError      a setting can't work; says which and what to write
    ├── NoSuchModel             no model is registered under that name
    ├── ModelBusy               a demotion was refused: the model is in use or was just used
    ├── ModelChanged            an unload was refused: the weights would lose their changes
    ├── ModelNotHeld            the model was used outside `on_gpu()`
    ├── ForkedProcess           a child of the process that opened the device or the control socket
    ├── StaleOrder              an order that a newer one has overtaken
    ├── WakeTimeout             the model was not awake within the request's budget
    │   ├── QueueFull           too many requests wait for it already
    │   └── NoRoom              the device was full all the time; a DeviceFull too
    └── TransitionFailed        the weights could not be moved; they are where `residency` says
        ├── LoadFailed          the user's `load` raised, or gave something that can't be moved
        ├── DeviceFull          no room on the device; has `need_bytes` and `room_bytes`
        ├── HostFull            no room in host RAM; has `need_bytes` and `room_bytes`
        ├── CopyFailed          the device refused a copy
        ├── DeviceBroken        the device does nothing any more in this process; only a restart helps
        └── IntegrityError      other bytes came back than went away

They become HTTP in one place: `server/problems.py`.
"""

from dormouse_contract import Residency


class DormouseError(Exception):
    retryable = False


class ConfigurationError(DormouseError):
    pass


class NoSuchModel(DormouseError, KeyError):
    def __init__(self, name: str, known: list[str]) -> None:
        self.name = name
        there = ", ".join(sorted(known)) or "none"
        super().__init__(f"no model {name!r} is registered here; there are: {there}")

    def __str__(self) -> str:
        return str(self.args[0])


class ModelBusy(DormouseError):
    """`in_flight` uses run, `waiting` requests wait, and it has been idle for `idle_seconds`."""

    retryable = True

    def __init__(self, message: str, *, in_flight: int = 0, waiting: int = 0, idle_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.in_flight, self.waiting, self.idle_seconds = in_flight, waiting, idle_seconds


class ModelChanged(DormouseError):
    """The wire calls it `Dirty`."""


class ModelNotHeld(DormouseError):
    pass


class ForkedProcess(DormouseError):
    """`what` of the parent's this process would need."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(
            f"this process was forked from the one that {what}, and can't use its models; they are unharmed there. "
            f"{advice}"
        )


class StaleOrder(DormouseError):
    pass


class WakeTimeout(DormouseError, TimeoutError):
    """The wake goes on; `retry_after_seconds` is when the model is expected to be awake."""

    retryable = True

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class QueueFull(WakeTimeout):
    def __init__(self, model: str, waiting: int, retry_after_seconds: float) -> None:
        super().__init__(
            f"{waiting} requests wait for model {model!r} already, which is as many as may; "
            f"ask again in {retry_after_seconds:.0f} s",
            retry_after_seconds,
        )


class TransitionFailed(DormouseError):
    """`residency` is the whole tier where the weights are now; filled in by the slot that settled there."""

    retryable = True
    residency: Residency | None = None
    retry_after_seconds: float = 5.0


class LoadFailed(TransitionFailed):
    """advice: whether waiting helps, and when it is tried again; filled in by the slot, which remembers."""

    advice = ""

    def __str__(self) -> str:
        message = super().__str__()
        end = "" if message.endswith(("?", ".", "!")) else "."
        return f"{message}{end} {self.advice}" if self.advice else message


class DeviceFull(TransitionFailed):
    def __init__(self, device: str, need_bytes: int, room_bytes: int) -> None:
        super().__init__(
            f"{device} has room for {room_bytes} bytes and {need_bytes} are needed; nothing was moved. "
            "Let another model sleep, or ask again when one does"
        )
        self.device, self.need_bytes, self.room_bytes = device, need_bytes, room_bytes


class NoRoom(WakeTimeout, DeviceFull):
    """A wake that went on without success for as long as the request could wait.

    held: the model that the request itself holds, where that is in the way; raised at once then.
    """

    def __init__(
        self,
        model: str,
        budget_seconds: float,
        full: DeviceFull,
        retry_after_seconds: float,
        *,
        held: str | None = None,
    ) -> None:
        room = f"{full.device} has room for {full.room_bytes} bytes, {full.need_bytes} are needed"
        Exception.__init__(
            self,
            f"model {model!r} was not awake within {budget_seconds:g} s: {room}, and nobody there could be sent to "
            f"sleep. It stays asleep; ask again in {retry_after_seconds:.0f} s"
            if held is None
            else f"model {model!r} has no room beside model {held!r}, which this request holds: {room}. "
            f"Both are as they were. Let go of {held!r} before you ask for {model!r}",
        )
        self.device, self.need_bytes, self.room_bytes = full.device, full.need_bytes, full.room_bytes
        self.retry_after_seconds = retry_after_seconds


class HostFull(TransitionFailed):
    def __init__(self, need_bytes: int, room_bytes: int) -> None:
        super().__init__(
            f"host RAM has room for {room_bytes} bytes and {need_bytes} are needed for the weights; "
            "nothing is kept. Raise the memory limit, or unload another model"
        )
        self.need_bytes, self.room_bytes = need_bytes, room_bytes


class CopyFailed(TransitionFailed):
    pass


class DeviceBroken(TransitionFailed):
    """`cause` is the driver's first sentence. An error that sticks: every later call of the process fails with it."""

    retryable = False

    def __init__(self, device: str, cause: str) -> None:
        super().__init__(
            f"{device} failed and does nothing more in this process ({cause}). "
            "The weights in host RAM and on disk are unharmed. Restart the process"
        )
        self.device, self.cause = device, cause


class IntegrityError(TransitionFailed):
    pass
