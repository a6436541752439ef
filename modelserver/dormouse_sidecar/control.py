"""The control port's routes: what an order or a question becomes on its way to the model process.

Everything is refused here that needs no model process to be refused, so that it sees only orders that are
whole, valid and meant for this pod.
"""

import logging

from dormouse_contract.problems import PROBLEM_MEDIA_TYPE
from dormouse_contract.wire import CONTROL_PREFIX, PolicyLoan, ResidencyOrder, is_model_name

from .errors import NoSuchModel, NotFound, UnusableAnswer
from .http1 import Request, Response
from .orders import read_order, write_order
from .upstream import Answer, ModelProcess

_log = logging.getLogger(__name__)
# An order is answered before the weights have moved, so this is for a process that is busy, not for copying.
_ANSWER_SECONDS = 10.0
_ANSWER_BYTES = 1024 * 1024
# More than ten years is no time to wait.
_RETRY_AFTER_DIGITS = 9
_ORDERS: dict[str, type[ResidencyOrder] | type[PolicyLoan]] = {
    "residency": ResidencyOrder,
    "policy": PolicyLoan,
}


class ControlRoutes:
    """Handles requests of clients whom the door has admitted."""

    def __init__(self, model_process: ModelProcess, pod_uid: str) -> None:
        self._model_process = model_process
        self._pod_uid = pod_uid

    async def __call__(self, request: Request) -> Response:
        """Raises SidecarError for what it refuses."""
        path = request.path.removeprefix(CONTROL_PREFIX)
        parts = path.split("/") if path != request.path else []
        match request.method, parts:
            case "GET", ["", "models"]:
                return await self._ask(f"{CONTROL_PREFIX}/models")
            case "GET", ["", "models", model]:
                return await self._ask(f"{CONTROL_PREFIX}/models/{_checked(model)}")
            case "PUT", ["", "models", model, ("residency" | "policy") as what]:
                return await self._order(_checked(model), what, request)
        raise NotFound(
            f"There is no {request.method} for this path on the control port. It has GET "
            f"{CONTROL_PREFIX}/models and /models/{{model}}, and PUT /models/{{model}}/residency and /policy."
        )

    async def _ask(self, path: str) -> Response:
        return _passed_on(await self._model_process.ask("GET", path, seconds=_ANSWER_SECONDS, max_bytes=_ANSWER_BYTES))

    async def _order(self, model: str, what: str, request: Request) -> Response:
        order = read_order(request, _ORDERS[what], self._pod_uid)
        answer = await self._model_process.ask(
            "PUT",
            f"{CONTROL_PREFIX}/models/{model}/{what}",
            write_order(order),
            seconds=_ANSWER_SECONDS,
            max_bytes=_ANSWER_BYTES,
        )
        wanted = f" {order.desired}" if isinstance(order, ResidencyOrder) else ""
        stamp = order.order
        assert stamp is not None  # noqa: S101 - read_order refuses an order without one
        _log.info(
            "%s %s%s ordered by %r generation %d: %d",
            model,
            what,
            wanted,
            stamp.owner,
            stamp.generation,
            answer.status,
        )
        return _passed_on(answer)


def _checked(model: str) -> str:
    if not is_model_name(model):
        raise NoSuchModel(
            "No model can have this name: lower-case letters, digits and inner dashes, at most 63. "
            f"GET {CONTROL_PREFIX}/models lists the names."
        )
    return model


def _passed_on(answer: Answer) -> Response:
    """The model process' answer as it is, if it is one that the control API has."""
    is_final = 200 <= answer.status < 300 or answer.status >= 400
    if not is_final or not answer.has_json("application/json", PROBLEM_MEDIA_TYPE):
        raise UnusableAnswer(
            f"The model process answered {answer.status} without the JSON that the control API has, so the "
            "answer was dropped. Is something else listening on its socket?"
        )
    headers: tuple[tuple[str, str], ...] = ()
    retry_after = answer.headers.get("retry-after", "")
    if retry_after.isascii() and retry_after.isdigit() and len(retry_after) <= _RETRY_AFTER_DIGITS:
        headers = (("retry-after", retry_after),)
    return Response(answer.status, answer.body, answer.media_type, headers)
