"""Everything that can go wrong with a request, each with what HTTP says about it.

    SidecarError
     ├─ RequestRefused          the client's doing; sending the same again won't help
     │   ├─ MalformedRequest        400  not HTTP, or headers too large (431)
     │   ├─ NotFound                404
     │   ├─ NoSuchModel             404  a name that no model can have
     │   ├─ MethodNotAllowed        405
     │   ├─ RequestTooSlow          408
     │   ├─ BodyTooLarge            413
     │   ├─ WrongContentType        415
     │   ├─ WrongPod                421
     │   └─ BadBody                 422
     └─ NoAnswer                the model process' doing; a retry may help
         ├─ ModelProcessDown        503
         └─ UnusableAnswer          502

`problems.py` is the only place that turns them into answers. `ClientGone` is not among them: there is
nobody left to answer.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from dormouse_contract.problems import ProblemReason


class ClientGone(Exception):
    """The connection ended before a whole request had arrived."""


class SidecarError(Exception):
    """Base of all. The message is the problem's `detail`: what happened, what is unharmed, what to do."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    reason: ClassVar[ProblemReason] = ProblemReason.INTERNAL
    headers: ClassVar[tuple[tuple[str, str], ...]] = ()

    def extras(self) -> dict[str, Any]:
        """Further members of the problem body."""
        return {}


class RequestRefused(SidecarError):
    status = 400
    title = "Request refused"
    reason = ProblemReason.BAD_BODY


class MalformedRequest(RequestRefused):
    title = "Not a valid HTTP request"

    def __init__(self, detail: str, headers_too_large: bool = False) -> None:
        super().__init__(detail)
        self.headers_too_large = headers_too_large


class NotFound(RequestRefused):
    status = 404
    title = "No such path"
    reason = ProblemReason.NOT_FOUND


class NoSuchModel(RequestRefused):
    status = 404
    title = "No such model"
    reason = ProblemReason.NO_SUCH_MODEL


class MethodNotAllowed(RequestRefused):
    status = 405
    title = "Method not allowed"
    headers = (("allow", "GET, HEAD"),)
    reason = ProblemReason.NOT_FOUND


class RequestTooSlow(RequestRefused):
    status = 408
    title = "The request took too long to arrive"


class BodyTooLarge(RequestRefused):
    status = 413
    title = "The body is too large"
    reason = ProblemReason.BODY_TOO_LARGE


class WrongContentType(RequestRefused):
    status = 415
    title = "The body is not JSON"


class WrongPod(RequestRefused):
    status = 421
    title = "This order is for another pod"
    reason = ProblemReason.WRONG_POD


class BadBody(RequestRefused):
    """`faults` are (location, message) pairs, location in the wire's names: `order.generation`."""

    status = 422
    title = "The body is not a valid order"

    def __init__(self, detail: str, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__(detail)
        self.faults = tuple(faults)

    def extras(self) -> dict[str, Any]:
        return {"errors": [{"location": location, "message": message} for location, message in self.faults]}


class NoAnswer(SidecarError):
    status = 503
    title = "The model process does not answer"
    reason = ProblemReason.MODEL_PROCESS_DOWN


class ModelProcessDown(NoAnswer):
    headers = (("retry-after", "5"),)


class UnusableAnswer(NoAnswer):
    status = 502
    title = "The model process gave an answer that can't be passed on"
    reason = ProblemReason.INTERNAL
