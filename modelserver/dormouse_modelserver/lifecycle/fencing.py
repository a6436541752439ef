"""Refuses orders that a newer one has overtaken."""

from dormouse_contract.wire import OrderStamp

from ..errors import StaleOrder


class OrderFence:
    """The newest stamp seen for one model. Not thread-safe: the slot asks under its lock.

    Older means an older generation of the same owner, or an older term of the same issuer. A new owner
    (a ManagedModel deleted and created again starts at generation 1) or a new issuer replaces the old.
    A restart forgets it, which the order's precondition makes harmless.
    """

    def __init__(self) -> None:
        self._newest: OrderStamp | None = None

    def pass_through(self, stamp: OrderStamp | None) -> None:
        """Raises `StaleOrder`, which leaves the fence as it was. Orders without a stamp are not fenced."""
        if stamp is None:
            return
        newest = self._newest
        if newest is not None and stamp.owner == newest.owner and stamp.generation < newest.generation:
            raise StaleOrder(
                f"generation {stamp.generation} of this owner is older than {newest.generation}, seen before; "
                "nothing was moved. Read the ManagedModel again"
            )
        if newest is not None and stamp.issuer == newest.issuer and stamp.term < newest.term:
            raise StaleOrder(
                f"term {stamp.term} of this issuer is older than {newest.term}, which was here before; "
                "nothing was moved. Another operator leads now"
            )
        self._newest = stamp
