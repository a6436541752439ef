"""What can go wrong on the simulated device, on demand: a fault that can't be made to happen can't be tested."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class SimFaults:
    """Faults to inject; None is no fault. Tests set them and reset them; `SimDevice.break_device` is for good.

    full_at_byte: an allocation fails as if the device had this many bytes.
    fail_map_at_byte: mapping memory at a reserved address fails after so many bytes were mapped.
    fail_copy_in_at_byte: a restore fails after so many bytes were copied.
    corrupt_copy_in_at_byte, corrupt_copy_out_at_byte: this byte arrives with a flipped bit.
    room_for_checksum_bytes: summing more than this on the device finds no memory there to work with.
    before_copy_in: called before each restore's copy, for tests that force an order of events.
    """

    full_at_byte: int | None = None
    fail_map_at_byte: int | None = None
    fail_copy_in_at_byte: int | None = None
    corrupt_copy_in_at_byte: int | None = None
    corrupt_copy_out_at_byte: int | None = None
    room_for_checksum_bytes: int | None = None
    fail_copy_out: bool = False
    before_copy_in: Callable[[], None] | None = None
    before_copy_out: Callable[[], None] | None = None
