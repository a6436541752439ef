"""Finds etcd, kube-apiserver, kubectl, helm, prometheus and the rest of `recipes.py`, or builds them.

In this order, for each one by itself:

1. `$KUBEBUILDER_ASSETS/NAME`, for people who have the binaries for their own operators' tests,
2. the cache, `~/.cache/dormouse/bin/VERSION/NAME` (`cache.py`),
3. `$PATH`,
4. a build from the pinned Go modules under `gomod/` into the cache.

What comes from 1 or 3 was made by others and has to prove itself: it must run, and its version must fit.
Kubernetes' own, etcd and coredns have to be of the pinned minor version (what they print, validate and store
changes with it); prometheus, promtool and helm of the same major version and not older. What doesn't fit is passed
over, and the line that announces the build says so.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from localcluster.building import build_into
from localcluster.cache import cache_directory
from localcluster.progress import Progress
from localcluster.recipes import NODE_ONLY, RECIPES, Recipe
from localcluster.versions import version_of

ALL = tuple(RECIPES)
USUAL = tuple(name for name in RECIPES if name not in NODE_ONLY)
"""What the demo and `make test` need."""


def ensure_binaries(names: Iterable[str] = USUAL, progress: Progress | None = None) -> dict[str, Path]:
    """The path of each named binary, built when there is no other way. Raises BinaryUnavailable.

    Silent when everything is there. The smaller ones are built first, so that a broken tool chain or network
    shows in seconds and not after five minutes.
    """
    progress = progress if progress is not None else Progress()
    wanted = sorted(names, key=lambda name: RECIPES[name].cold_build_seconds)
    return {name: binary(name, progress) for name in wanted}


def binary(name: str, progress: Progress | None = None) -> Path:
    """One binary, as above."""
    recipe = RECIPES[name]
    passed_over: list[str] = []
    if found := _fitting(_in_assets(name), recipe, passed_over):
        return found
    cached = cache_directory() / "bin" / recipe.version / name
    if cached.exists():
        return cached
    if found := _fitting(_on_path(name), recipe, passed_over):
        return found
    why = "; ".join(passed_over) or "it is neither in the cache nor on PATH"
    return build_into(cached, recipe, why, progress if progress is not None else Progress())


def _in_assets(name: str) -> Path | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    candidate = Path(assets, name) if assets else None
    return candidate if candidate is not None and os.access(candidate, os.X_OK) else None


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found).absolute() if found else None


def _fitting(candidate: Path | None, recipe: Recipe, passed_over: list[str]) -> Path | None:
    if candidate is None:
        return None
    version = version_of(candidate, recipe)
    if version is not None and recipe.accepts(version):
        return candidate
    said = "does not say its version" if version is None else f"is {'.'.join(map(str, version))}"
    passed_over.append(f"{candidate} {said}")
    return None
