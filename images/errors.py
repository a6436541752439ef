"""What goes wrong when images are built. The message says what happened, what is unharmed and what to do next."""

from __future__ import annotations


class ImageUnavailable(Exception):
    """There is no builder, or its build failed; images of before are unharmed."""
