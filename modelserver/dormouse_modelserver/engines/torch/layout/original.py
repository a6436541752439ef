"""What tensors were when they were loaded: by this `Dirty` is judged."""

from collections.abc import Callable, Iterable

from .fingerprint import Fingerprint


class Original:
    """Remembered once, before the bytes are written for the first time; `unneeded` are tensors that nobody uses now."""

    def __init__(self, values: Fingerprint | None = None, unneeded: Fingerprint | None = None) -> None:
        self._values = values
        self._unneeded = unneeded or {}

    @property
    def values(self) -> Fingerprint:
        """Empty when nothing is known."""
        return self._values or {}

    def differs(self, now: Fingerprint) -> bool:
        """Also when it is not known what it was."""
        return now != self._values

    @property
    def has_unneeded(self) -> bool:
        return bool(self._unneeded)

    def remember(self, look: Callable[[], Fingerprint]) -> None:
        """What `look` gives, unless it is known already."""
        if self._values is None:
            self._values = look()

    def part(self, paths: Iterable[str]) -> "Original":
        """The same of these tensors alone."""
        kept = set(paths)
        return Original(
            None if self._values is None else {path: value for path, value in self._values.items() if path in kept},
            {path: value for path, value in self._unneeded.items() if path in kept},
        )

    def narrow(self, paths: Iterable[str]) -> None:
        """Only these are needed from now on: that others go is no change of what was loaded."""
        kept, whole = set(paths), self.values
        self._values = {path: value for path, value in whole.items() if path in kept}
        self._unneeded.update((path, value) for path, value in whole.items() if path not in kept)

    def widen(self, paths: Iterable[str]) -> None:
        """These are needed again: it is known again what they were."""
        for path in paths:
            if path in self._unneeded:
                self._values = {**self.values, path: self._unneeded.pop(path)}
