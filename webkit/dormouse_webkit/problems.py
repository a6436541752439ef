"""An RFC 9457 problem as an answer, and what is wrong with a body in words."""

import math
from collections.abc import Mapping
from typing import Any

from dormouse_contract.problems import PROBLEM_MEDIA_TYPE
from pydantic import ValidationError
from starlette.responses import JSONResponse


def problem_response(problem: Mapping[str, Any], *, retry_after_seconds: float | None = None) -> JSONResponse:
    """`problem` as it travels; its `status` is the answer's."""
    headers = {} if retry_after_seconds is None else {"Retry-After": str(max(1, math.ceil(retry_after_seconds)))}
    return JSONResponse(problem, problem["status"], headers, media_type=PROBLEM_MEDIA_TYPE)


def what_is_wrong(error: ValidationError) -> str:
    """Each field that is not as it should be, and why."""
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'body'}: {each['msg']}" for each in error.errors())
