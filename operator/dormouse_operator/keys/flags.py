"""The flags about the operator's key, and the settings made of them."""

import argparse
from pathlib import Path

from ..errors import SettingsError
from ..flags import AddFlag, number, text_of
from .settings import KeyOrigin, KeySettings

DEFAULTS = KeySettings()


def add_key_flags(flag: AddFlag) -> None:
    origins = ", ".join(KeyOrigin)
    flag("--key-source", "DORMOUSE_KEY_SOURCE", DEFAULTS.source, f"who makes the operator's key: {origins}")
    flag(
        "--key-folder",
        "DORMOUSE_KEY_FOLDER",
        str(DEFAULTS.folder),
        "folder with tls.crt and tls.key, for the other two",
    )
    flag(
        "--key-lifetime",
        "DORMOUSE_KEY_LIFETIME",
        text_of(DEFAULTS.lifetime_seconds),
        "seconds that a key made by the operator holds",
    )
    flag(
        "--key-overlap",
        "DORMOUSE_KEY_OVERLAP",
        text_of(DEFAULTS.overlap_seconds),
        "seconds to wait at most until sidecars report a new key",
    )


def key_settings(given: argparse.Namespace) -> KeySettings:
    """Raises SettingsError for what makes no sense."""
    if given.key_source not in list(KeyOrigin):
        raise SettingsError(f"--key-source is {given.key_source!r}; write one of {', '.join(KeyOrigin)}")
    return KeySettings(
        source=KeyOrigin(given.key_source),
        folder=Path(given.key_folder),
        lifetime_seconds=number("--key-lifetime", given.key_lifetime),
        overlap_seconds=number("--key-overlap", given.key_overlap),
    )
