"""The bodies of the control API, as they travel. JSON in camelCase.

An order is refused when it has a field that is not known: who sends it means something by it. An answer is read as
far as it is known, since operator, sidecar and library may each be a version apart: a field, a trigger or a tier of a
newer library must not hide the rest. Nor is an answer trusted: each figure lies within what it can be, each text is one
line that can be shown, and what is neither is not known of the part that it is in.

Python code uses the snake_case names; `from_json()` reads the wire form and `to_json()` writes it.
"""

import re
from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from .duplicate_keys import fault_of_keys
from .printable import printable
from .residency import Residency, TransitionOutcome, Trigger
from .timestamps import LAST_SECOND

MODEL_NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
CONTROL_PREFIX = "/dormouse/v1"
# What a control body may be at most; every body of the contract is far below 4 KiB.
MAX_BODY_BYTES = 16 * 1024
# Ten years: what is longer is no length of time that anybody means.
MAX_SECONDS = 10 * 365 * 24 * 3600
# Of a word that is not known; the longest that is known has 16.
MAX_WORD_CHARACTERS = 32
MAX_TEXT_CHARACTERS = 1024
# 9 PB: no device has as much, and a float holds each number up to there.
MAX_BYTES = 2**53
# Of one pod's answer; what follows is not read.
MAX_MODELS = 1024
_MODEL_NAME = re.compile(MODEL_NAME_PATTERN)


def is_model_name(text: object) -> bool:
    """Whether a model can have this name."""
    return isinstance(text, str) and _MODEL_NAME.fullmatch(text) is not None


def _integral(value: object) -> object:
    """JSON has one kind of number: 3.0 is an integer there. 3.5 and "3" are none."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_LongText = Annotated[
    str, Field(max_length=MAX_TEXT_CHARACTERS), AfterValidator(partial(printable, limit=MAX_TEXT_CHARACTERS))
]
_Name = Annotated[str, Field(min_length=1, max_length=253), AfterValidator(partial(printable, limit=253))]
_Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0, le=2**53), BeforeValidator(_integral)]


class Wire(BaseModel):
    """Base of every body: immutable, camelCase. An order takes nothing that is not known."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, ser_json_inf_nan="null"
    )

    @classmethod
    def from_json(cls, body: bytes | str) -> Self:
        """Read a body that came over the wire: its names as they travel, each once, and "3" is no number.

        Raises `pydantic.ValidationError`.
        """
        fault = fault_of_keys(body)
        if fault:
            wrong = PydanticCustomError("duplicate_key", "{fault}", {"fault": fault})
            raise ValidationError.from_exception_data(cls.__name__, [{"type": wrong, "loc": (), "input": None}])
        return cls.model_validate_json(body, strict=True, by_alias=True, by_name=False)

    def to_json(self) -> str:
        return self.model_dump_json(by_alias=True)


class Answer(Wire):
    """Base of what is answered: what a newer version says besides is passed over."""

    model_config = ConfigDict(extra="ignore")


def _none_if_unreadable(value: object, read: ValidatorFunctionWrapHandler) -> Any:
    """What can't be read of a part is nothing that we know of; the rest stands."""
    try:
        return read(value)
    except ValidationError:
        return None


# A member where it is one, else the word itself: one that a newer version has.
_Word = Annotated[
    str, Field(max_length=MAX_WORD_CHARACTERS), AfterValidator(partial(printable, limit=MAX_WORD_CHARACTERS))
]
_AnyTier = Annotated[Residency | _Word, Field(union_mode="left_to_right")]
_AnyTrigger = Annotated[Trigger | _Word, Field(union_mode="left_to_right")]
_AnyOutcome = Annotated[TransitionOutcome | _Word, Field(union_mode="left_to_right")]
# An answer's text is cut and not refused for being long: its first words say the most.
_AnyText = Annotated[str, AfterValidator(partial(printable, limit=MAX_TEXT_CHARACTERS))]
_Moment = Annotated[float, Field(ge=0, le=LAST_SECOND, allow_inf_nan=False)]
# Less than nothing is released where more is held after a move than before.
_Released = Annotated[int, Field(ge=-MAX_BYTES, le=MAX_BYTES)]


class OrderStamp(Wire):
    """Who orders, and how new that is.

    owner: UID of the ManagedModel. generation: its metadata.generation.
    issuer: UID of the Lease, or a UUID of the operator's process without one. term: the Lease's
    leaseTransitions, or 0.
    """

    owner: _Name
    generation: _Count
    issuer: _Name
    term: _Count


class ResidencyOrder(Wire):
    """`PUT /dormouse/v1/models/{model}/residency`: bring the weights there, once; pins nothing."""

    desired: Residency
    trigger: Trigger = Trigger.MANUAL
    reason: _LongText = ""
    if_idle_for_seconds: _Seconds | None = None
    order: OrderStamp | None = None
    pod_uid: Annotated[_Name | None, Field(alias="podUID")] = None


class PolicyLoan(Wire):
    """`PUT /dormouse/v1/models/{model}/policy`: what the replica decides by itself for a while.

    None is the server's own setting. `valid_for_seconds: 0` withdraws this owner's loan.
    turn_seconds: so long it waits for room behind one that is never at rest, before that one is drained.
    """

    keep_alive_seconds: _Seconds | None = None
    min_resident_seconds: _Seconds | None = None
    wake_budget_seconds: _Seconds | None = None
    turn_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)] | None = None
    pinned: bool = False
    valid_for_seconds: _Seconds
    order: OrderStamp | None = None
    pod_uid: Annotated[_Name | None, Field(alias="podUID")] = None

    @model_serializer(mode="wrap")
    def _without_what_is_absent(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Readers of an earlier version refuse a field that they don't know, null included.
        body: dict[str, Any] = serialize(self)
        return {key: value for key, value in body.items() if value is not None or key not in _NEW_IN_A_LOAN}


_NEW_IN_A_LOAN = frozenset({"turn_seconds", "turnSeconds"})


class TransitionSnapshot(Answer):
    """A transition under way; `startedAt` is Unix seconds."""

    from_: Annotated[Residency, Field(alias="from")]
    to: Residency
    trigger: Trigger
    started_at: float


class TransitionReport(Answer):
    """`LastTransitionSnapshot` of whatever version: a tier, trigger or outcome that is not known is its plain word."""

    from_: Annotated[_AnyTier, Field(alias="from")]
    to: _AnyTier
    trigger: _AnyTrigger
    reason: _AnyText
    time: _Moment
    seconds: _Seconds
    released_bytes: _Released
    outcome: _AnyOutcome


class LastTransitionSnapshot(TransitionReport):
    """The last transition that ended; `time` is when it ended (Unix seconds), `seconds` how long it took."""

    from_: Annotated[Residency, Field(alias="from")]
    to: Residency
    trigger: Trigger
    released_bytes: int
    outcome: TransitionOutcome


ReleasedMethod = Literal["nvml", "device-delta", "sim"]


class ModelSnapshot(Answer):
    """One replica's state of one model, all taken at one moment.

    idle_seconds: now − the latest of last request's end, last wake and load; 0 while in flight.
    last_request_end: Unix seconds; load or start-up time before the first request.
    released_method: how `gpu_memory_released_bytes` was measured; None before the first release.
    dirty: the weights differ from what `load` gives, as found at the last demotion.
    restore_estimate_seconds: None until a restore was measured.
    turn_seconds: so long it waits for room behind a model that is never at rest; None is for ever, or an older library.
    oldest_use_seconds: how long the oldest use has held the model; None while nobody holds it, and from a library that
        does not say.
    """

    name: str
    residency: Residency
    in_flight: int
    waiting: int
    idle_seconds: float
    last_request_end: float
    gpu_memory_bytes: int
    host_memory_bytes: int
    gpu_memory_released_bytes: int
    released_method: ReleasedMethod | None
    device: str
    dirty: bool
    pinned: bool
    restore_estimate_seconds: float | None
    turn_seconds: float | None = None
    oldest_use_seconds: float | None = None
    transition: TransitionSnapshot | None
    last_transition: LastTransitionSnapshot | None


class SuggestedTimeout(Answer):
    """The idle timeout that the rate of use suggests. setting: as it is written for `--idle-timeout`.

    idle_timeout_seconds: None is never.
    """

    setting: str
    idle_timeout_seconds: float | None
    because: str


class ReplayedTimeout(Answer):
    """What one idle timeout would have done over the observed uses; not what was done.

    setting: as it is written for `--idle-timeout`. idle_timeout_seconds: None is never.
    waits: uses that would have found the model asleep. waited_seconds: for all of them together, by the
    measured restore. None is not measured yet.
    """

    setting: str
    idle_timeout_seconds: float | None
    current: bool
    suggested: bool
    asleep_seconds: float
    gpu_memory_saved_byte_seconds: float | None
    waits: int
    waited_seconds: float | None


class ModelAdvice(Answer):
    """Advice on one model's idle timeout, from the uses of the last `observed_seconds` (a day at most).

    suggested: None before the first use.
    """

    observed_seconds: float
    arrivals: int
    arrivals_per_minute: float
    gpu_memory_bytes: int | None
    restore_seconds: float | None
    suggested: SuggestedTimeout | None
    replayed: list[ReplayedTimeout]


class ModelList(Answer):
    """`GET /dormouse/v1/models`. advice: by model; only on the port for people, and left out elsewhere."""

    models: list[ModelSnapshot]
    advice: dict[str, ModelAdvice] | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_absent(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Readers of an earlier version refuse a field that they don't know, null included.
        body: dict[str, Any] = serialize(self)
        return body if self.advice is not None else {"models": body["models"]}


class ModelReport(Answer):
    """What an operator takes of a snapshot, of whatever version: that the model is there, and how it moved last."""

    name: str
    last_transition: Annotated[TransitionReport | None, WrapValidator(_none_if_unreadable)] = None


class ModelReports(Answer):
    """`ModelList`, as far as an operator needs it. ignored: models without a name that one can have, and of the same
    name again."""

    models: list[ModelReport]
    ignored: int = 0

    @model_validator(mode="before")
    @classmethod
    def _named(cls, body: object) -> object:
        listed = body.get("models") if isinstance(body, dict) else None
        if not isinstance(listed, list):
            return body
        read = listed[:MAX_MODELS]
        named: dict[str, object] = {}
        for each in read:
            if isinstance(each, dict) and is_model_name(each.get("name")):
                named.setdefault(each["name"], each)
        return {"models": list(named.values()), "ignored": len(read) - len(named)}
