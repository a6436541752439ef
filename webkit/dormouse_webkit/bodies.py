"""A request's body, read as it comes and no further than it may go: a length that somebody claims is not believed."""

from starlette.requests import Request


class BodyTooLarge(Exception):
    """What was read of it is dropped."""


async def read_body(request: Request, most_bytes: int) -> bytes:
    """Raises BodyTooLarge as soon as it is longer than that."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most_bytes:
            raise BodyTooLarge
    return bytes(body)
