"""Where the key comes from and how long it lasts; wrong values are refused with what to write instead."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..errors import SettingsError
from .rotation import DAY_SECONDS, Rules


class KeyOrigin(StrEnum):
    OPERATOR = "operator"
    EXISTING_SECRET = "existingSecret"  # noqa: S105 - a word, not a secret
    CERT_MANAGER = "certManager"


@dataclass(frozen=True, slots=True)
class KeySettings:
    """source: who makes the operator's key.
    folder: where the Secret with `tls.crt` and `tls.key` is mounted; not read when we make the key.
    lifetime_seconds: of a key that we make; its successor is made with a third of that left.
    overlap_seconds: how long a new certificate is published beside the old one at most before it is used.
        Less than the kubelet takes (about a minute) means refused orders.
    """

    source: KeyOrigin = KeyOrigin.OPERATOR
    folder: Path = Path("/etc/dormouse/key")
    lifetime_seconds: float = 365.0 * DAY_SECONDS
    overlap_seconds: float = 600.0

    def __post_init__(self) -> None:
        if not self.folder.is_absolute():
            raise SettingsError(f"--key-folder is {str(self.folder)!r}; write an absolute path")
        if not 60 <= self.lifetime_seconds <= 3650 * DAY_SECONDS:
            raise SettingsError(
                f"--key-lifetime is {self.lifetime_seconds:g}; write seconds from 60 to {3650 * DAY_SECONDS}"
            )
        if not 1 <= self.overlap_seconds <= DAY_SECONDS:
            raise SettingsError(f"--key-overlap is {self.overlap_seconds:g}; write seconds from 1 to {DAY_SECONDS}")
        # A third of the lifetime is left when the successor is made; half of that is for outages.
        if self.overlap_seconds > self.lifetime_seconds / 6:
            raise SettingsError(
                f"--key-overlap is {self.overlap_seconds:g} and --key-lifetime {self.lifetime_seconds:g}; "
                "the overlap may be a sixth of the lifetime at most, or a key would expire before its successor is used"
            )

    @property
    def rules(self) -> Rules:
        return Rules(self.lifetime_seconds, self.overlap_seconds)
