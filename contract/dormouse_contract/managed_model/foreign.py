"""Values that others wrote, which may be of any kind."""

from collections.abc import Mapping
from typing import Any


def mapping(value: object) -> Mapping[str, Any]:
    """The object that it is, or an empty one."""
    return value if isinstance(value, Mapping) else {}
