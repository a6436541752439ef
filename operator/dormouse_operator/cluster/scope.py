"""Which part of the cluster is ours."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """What an operator is responsible for. namespaces: empty for the whole cluster.

    selector: of the ManagedModels, in the API server's syntax; empty for all of them. Pods have none.
    """

    namespaces: tuple[str, ...] = ()
    selector: str = ""
