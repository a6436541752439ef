"""Which ManagedModel manages which model of a pod that several select, and what each has of it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dormouse_contract.managed_model import ManagedModel

from .pods import Pod


@dataclass(frozen=True, slots=True)
class Lost:
    """A model of a pod that another ManagedModel manages; `model` None means the whole pod."""

    pod: Pod
    model: str | None
    winner: str


@dataclass(frozen=True, slots=True)
class Managers:
    """Which ManagedModel manages which model of one pod, by name. Naming the model beats the whole pod.

    version: of the namespace, for which that was found.
    """

    version: int
    named: Mapping[str, str]
    whole: str | None

    def of(self, model: str) -> str | None:
        return self.named.get(model, self.whole)


@dataclass(frozen=True, slots=True)
class Claim:
    """What one ManagedModel has of one pod that its labels match. held: the models that are its own to order."""

    pod: Pod
    held: tuple[str, ...]
    lost: tuple[Lost, ...]


def claim(owner: ManagedModel, pod: Pod, managers: Managers, models: Sequence[str]) -> Claim:
    """What `owner` has of a pod that it selects. models: those of the pod that it is about."""
    lost = [
        Lost(pod, model, winner)
        for model in models
        if (winner := managers.of(model)) is not None and winner != owner.name
    ]
    if owner.model is None and managers.whole is not None and managers.whole != owner.name:
        lost.append(Lost(pod, None, managers.whole))
    return Claim(pod, tuple(model for model in models if managers.of(model) == owner.name), tuple(lost))


def found_managers(version: int, owners: Iterable[ManagedModel]) -> Managers:
    """Of a pod that these select. Among those that name the same model, or the whole pod, the older has it."""
    named: dict[str, str] = {}
    whole: str | None = None
    for owner in sorted(owners, key=_precedence, reverse=True):
        if owner.model is None:
            whole = owner.name
        else:
            named[owner.model] = owner.name
    return Managers(version, named, whole)


def _precedence(owner: ManagedModel) -> tuple[bool, float, str]:
    return owner.precedence
