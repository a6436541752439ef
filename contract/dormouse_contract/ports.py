"""The ports that our processes listen on unless they are set to others. Charts, images and docs name the same."""

from enum import IntEnum


class Port(IntEnum):
    CONTROL = 7443
    """A sidecar: orders, mutual TLS."""
    SIDECAR = 9743
    """A sidecar: metrics and health, plain and read-only."""
    SERVE = 7860
    """`dormouse-modelserver serve`: the app, the page and the control routes."""
    OPERATOR = 9744
    """The operator: metrics and health."""
    WEBHOOK = 9443
    """The injecting webhook."""
    CONSOLE = 7861
    """The console."""
    CONSOLE_HEALTH = 7862
    """The console's health alone, for the kubelet."""
