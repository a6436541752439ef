"""From a request to an order that may be passed on: one that is whole, valid, signed off and for this pod.

What is passed on is the validated order written anew, not the bytes that came in, so that the model
process can't read anything else in them than what was checked here.
"""

from dormouse_contract.printable import printable
from dormouse_contract.wire import PolicyLoan, ResidencyOrder
from pydantic import ValidationError

from .errors import BadBody, WrongContentType, WrongPod
from .http1 import Request

Order = ResidencyOrder | PolicyLoan

_MAX_FAULTS = 20
_MAX_FAULT_CHARS = 200
_REQUIRED = {
    "order": "say who orders and how new that is: owner, generation, issuer, term",
    "podUID": "say which pod the order is for, so that one with a recycled address refuses it",
}


def read_order(request: Request, kind: type[Order], pod_uid: str) -> Order:
    """The order in this request. Raises WrongContentType, BadBody or WrongPod."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise WrongContentType(
            "An order is sent as application/json; this one says otherwise or nothing, so it was not read. "
            "Nothing was changed. Set the Content-Type."
        )
    try:
        order = kind.from_json(request.body)
    except ValidationError as error:
        raise _bad_body(_faults(error)) from None
    missing = {"order": order.order, "podUID": order.pod_uid}
    faults = [(name, _REQUIRED[name]) for name, value in missing.items() if value is None]
    if faults:
        raise _bad_body(faults)
    if order.pod_uid != pod_uid:
        raise WrongPod(
            f"This is pod {pod_uid}; the order is for another one. Nothing was changed. "
            "Look up the address of the pod that is meant and send it there."
        )
    return order


def write_order(order: Order) -> bytes:
    """As JSON for the model process. What the sender left out stays out: defaults are decided once."""
    return order.model_dump_json(by_alias=True, exclude_unset=True).encode()


def _bad_body(faults: list[tuple[str, str]]) -> BadBody:
    named = "; ".join(f"{location}: {message}" if location else message for location, message in faults[:3])
    return BadBody(
        f"The order was refused and nothing was changed: {named}. Correct the body and send it again.", faults
    )


def _faults(error: ValidationError) -> list[tuple[str, str]]:
    """Location and message of each; never the values, which don't belong into answers or logs."""
    return [
        (
            printable(".".join(map(str, fault["loc"])), _MAX_FAULT_CHARS),
            printable(fault["msg"], _MAX_FAULT_CHARS),
        )
        for fault in error.errors(include_url=False, include_input=False, include_context=False)[:_MAX_FAULTS]
    ]
