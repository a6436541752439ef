"""Times as Kubernetes writes them (RFC 3339, UTC) and as we compute with them (Unix seconds)."""

from datetime import UTC, datetime


def to_rfc3339(unix_seconds: float) -> str:
    """With whole seconds, as conditions have it."""
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_rfc3339_micro(unix_seconds: float) -> str:
    """With microseconds, for what is compared with a metric later and for Events."""
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_rfc3339(text: str) -> float:
    """Raises ValueError for what is no time."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def from_rfc3339_or_none(text: object) -> float | None:
    """None for what is absent or no time: used on fields that an API server has validated."""
    try:
        return from_rfc3339(text) if isinstance(text, str) else None
    except ValueError:
        return None
