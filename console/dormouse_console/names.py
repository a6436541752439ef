"""What callers name, checked before it becomes part of a path or a query.

PromQL and paths are put together from text; a name that can't hold a quote, a slash or a `.*` can't add to them.
"""

import re

from .errors import BadRequest

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_OBJECT = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def namespace_name(text: str) -> str:
    """The name itself. Raises BadRequest for what can't be a namespace."""
    if not _NAMESPACE.fullmatch(text):
        raise BadRequest(f"{text[:80]!r} can't be the name of a namespace")
    return text


def object_name(text: str) -> str:
    """The name itself. Raises BadRequest for what can't be the name of a ManagedModel or a pod."""
    if not _OBJECT.fullmatch(text):
        raise BadRequest(f"{text[:80]!r} can't be the name of an object")
    return text
