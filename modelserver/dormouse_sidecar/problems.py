"""The one place that turns errors into HTTP: RFC 9457 `application/problem+json`.

Errors that nobody foresaw are logged with their traceback and answered without any of it.
"""

import logging

from dormouse_contract.problems import PROBLEM_MEDIA_TYPE, Problem

from .errors import MalformedRequest, SidecarError
from .http1 import Response

_log = logging.getLogger(__name__)


def answer_to(error: Exception) -> Response:
    """The answer to a request that ended in `error`."""
    if not isinstance(error, SidecarError):
        _log.error("a request failed in a way that is a defect of the sidecar", exc_info=error)
        error = SidecarError(
            "The sidecar failed to handle this request; the model process goes on unharmed. "
            "Its log has the cause; please report it."
        )
    status = error.status
    if isinstance(error, MalformedRequest) and error.headers_too_large:
        status = 431
    problem = Problem.model_validate(
        {
            "title": error.title,
            "status": status,
            "detail": str(error),
            "reason": error.reason,
            **error.extras(),
        }
    )
    return Response(status, problem.model_dump_json().encode(), PROBLEM_MEDIA_TYPE, error.headers)
