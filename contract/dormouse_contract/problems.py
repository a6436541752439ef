"""Refusals as they travel: RFC 9457 `application/problem+json`, with a reason that a machine can read."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

PROBLEM_MEDIA_TYPE = "application/problem+json"


class ProblemReason(StrEnum):
    """Machine-readable `reason` of a problem+json body."""

    NO_SUCH_MODEL = "NoSuchModel"
    IN_USE = "InUse"
    STALE_ORDER = "StaleOrder"
    DIRTY = "Dirty"
    WRONG_POD = "WrongPod"
    BAD_BODY = "BadBody"
    BODY_TOO_LARGE = "BodyTooLarge"
    NOT_AUTHORISED = "NotAuthorised"
    CANNOT_NOW = "CannotNow"
    WAKE_TIMEOUT = "WakeTimeout"
    NOT_FOUND = "NotFound"
    MODEL_PROCESS_DOWN = "ModelProcessDown"
    INTERNAL = "Internal"


class Problem(BaseModel):
    """An RFC 9457 problem. `detail` says what happened, what is unharmed and what to do next."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    # A reason of a later version is read as its word: its status and its detail still count.
    reason: Annotated[ProblemReason | SkipJsonSchema[str], Field(union_mode="left_to_right")]
