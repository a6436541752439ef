"""Refusals as they travel: RFC 9457 `application/problem+json`, with a reason that a machine can read."""

from enum import StrEnum
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from .printable import printable
from .wire import MAX_WORD_CHARACTERS, Answer

MAX_TITLE_CHARACTERS, MAX_DETAIL_CHARACTERS = 128, 2048
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


def _text(value: object, limit: int) -> str:
    """What is no text says nothing, and the rest of the problem stands."""
    return printable(value, limit) if isinstance(value, str) else ""


_Title = Annotated[str, AfterValidator(partial(printable, limit=MAX_TITLE_CHARACTERS))]
_Detail = Annotated[str, AfterValidator(partial(printable, limit=MAX_DETAIL_CHARACTERS))]


class Problem(BaseModel):
    """An RFC 9457 problem. `detail` says what happened, what is unharmed and what to do next.

    Both texts are one line that can be shown: they may quote what a client sent.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str = "about:blank"
    title: _Title
    status: int
    detail: _Detail
    # A reason of a later version is read as its word: its status and its detail still count.
    reason: Annotated[ProblemReason | SkipJsonSchema[str], Field(union_mode="left_to_right")]


class ProblemReport(Answer):
    """What an operator takes of a problem, whoever wrote it: texts that are none are empty."""

    title: Annotated[str, BeforeValidator(partial(_text, limit=MAX_TITLE_CHARACTERS))] = ""
    detail: Annotated[str, BeforeValidator(partial(_text, limit=MAX_DETAIL_CHARACTERS))] = ""
    reason: Annotated[str, BeforeValidator(partial(_text, limit=MAX_WORD_CHARACTERS))] = ""
