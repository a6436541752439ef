"""Whether a path is spelled as it is written in the documentation.

`/dormouse%2fv1/models` and `/%64ormouse/v1/models` are the same path as `/dormouse/v1/models` to whoever decodes first,
as ASGI servers do, and another one to a proxy whose rule says `/dormouse/`. So what is ours answers to one spelling.
"""

import re

from starlette.types import Scope

# Letters, digits, `-._~` never need to be encoded; an encoded `/`, `\` or `%` is there to be read differently.
_NEEDLESS = re.compile(rb"%(?:2[def]|5[cf]|7e|25|3[0-9]|[46][1-9a-f]|[57][0-9a])", re.IGNORECASE)


def is_plain(scope: Scope, segments: int) -> bool:
    """segments: so many at the end are ours, and they have nothing that is encoded; before them is a mount's name.

    True where the server does not say how the path was sent.
    """
    sent = scope.get("raw_path")
    if sent is None:
        return True
    path = bytes(sent).partition(b"?")[0]
    ours = "/" + "/".join(scope["path"].split("/")[-segments:])
    mount = path.removesuffix(ours.encode())
    if mount == path or _NEEDLESS.search(mount):
        return False
    return not any(segment in (b".", b"..") for segment in mount.split(b"/"))
