"""What each binary is: which pinned module, which package and flags, and when a foreign one is as good.

The versions stand in `gomod/*/go.mod` alone and are read from there, so that raising one is a change in one
place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

GOMOD = Path(__file__).parent / "gomod"

Version = tuple[int, int, int]


def parse_version(text: str) -> Version | None:
    """The first `1.2` or `1.2.3` in `text`, None when there is none."""
    found = re.search(r"(?<![\d.])v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to recognise and how to build one binary."""

    name: str
    family: str
    """The folder under `gomod/`."""
    module: str
    """The module in that folder's go.mod whose version is this binary's."""
    package: str
    version_command: tuple[str, ...]
    fits: str
    """Which foreign versions will do: `same minor` or `same major, not older`."""
    cold_build_seconds: int
    """Measured on 2 cores with an empty Go cache: what the terminal promises."""
    tags: str = ""

    @property
    def version(self) -> str:
        """The pinned module version, for example `v1.34.4`: also the name of its folder in the cache."""
        return _pinned(self.family, self.module)

    @property
    def product_version(self) -> Version:
        """What the binary says of itself. Prometheus' Go module v0.308.1 is the product 3.8.1."""
        version = parse_version(self.version)
        assert version is not None, self.version  # noqa: S101 - _pinned() only returns versions
        if self.family == "prometheus":
            return (version[1] // 100, version[1] % 100, version[2])
        return version

    @property
    def ldflags(self) -> str:
        """Without the -X ones, clients would see Kubernetes v0.0.0 and Prometheus without a version."""
        dotted = ".".join(map(str, self.product_version))
        if self.family == "kubernetes":
            at = "k8s.io/component-base/version"
            major, minor, _ = self.product_version
            return f"-s -w -X {at}.gitVersion=v{dotted} -X {at}.gitMajor={major} -X {at}.gitMinor={minor}"
        if self.family == "prometheus":
            return f"-s -w -X github.com/prometheus/common/version.Version={dotted}"
        if self.family == "helm":
            return f"-s -w -X helm.sh/helm/v3/internal/version.version=v{dotted}"
        return "-s -w"

    def accepts(self, found: Version) -> bool:
        """Whether a binary of this version, built by somebody else, behaves as the pinned one does for us."""
        wanted = self.product_version
        if self.fits == "same minor":
            return found[:2] == wanted[:2]
        return found[0] == wanted[0] and found[:2] >= wanted[:2]


# kubectl and the API server change what they print, validate and default from minor to minor, and etcd's
# storage format does as well; Prometheus keeps its API and its query language stable within a major version.
_KUBERNETES = ("kubernetes", "k8s.io/kubernetes")
_PROMETHEUS = ("prometheus", "github.com/prometheus/prometheus")
_PROMETHEUS_TAGS = "remove_all_sd,enable_kubernetes_sd"
_HELM = ("helm", "helm.sh/helm/v3")
_COREDNS = ("coredns", "github.com/coredns/coredns")

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("etcd", "etcd", "go.etcd.io/etcd/server/v3", ".", ("--version",), "same minor", 29),
        Recipe(
            "kubectl", *_KUBERNETES, "k8s.io/kubernetes/cmd/kubectl",
            ("version", "--client"), "same minor", 24,
        ),
        Recipe(
            "kube-apiserver", *_KUBERNETES, "k8s.io/kubernetes/cmd/kube-apiserver",
            ("--version",), "same minor", 305,
        ),
        Recipe(
            "prometheus", *_PROMETHEUS, "github.com/prometheus/prometheus/cmd/prometheus",
            ("--version",), "same major, not older", 206, _PROMETHEUS_TAGS,
        ),
        Recipe(
            "promtool", *_PROMETHEUS, "github.com/prometheus/prometheus/cmd/promtool",
            ("--version",), "same major, not older", 17, _PROMETHEUS_TAGS,
        ),
        Recipe("helm", *_HELM, "helm.sh/helm/v3/cmd/helm", ("version",), "same major, not older", 109),
        # From here on what a node needs besides; only the end-to-end tests have one.
        Recipe("coredns", *_COREDNS, "github.com/coredns/coredns", ("-version",), "same minor", 131),
        Recipe("kubelet", *_KUBERNETES, "k8s.io/kubernetes/cmd/kubelet", ("--version",), "same minor", 24),
        Recipe("kube-proxy", *_KUBERNETES, "k8s.io/kubernetes/cmd/kube-proxy", ("--version",), "same minor", 10),
        Recipe(
            "kube-scheduler", *_KUBERNETES, "k8s.io/kubernetes/cmd/kube-scheduler",
            ("--version",), "same minor", 10,
        ),
        Recipe(
            "kube-controller-manager", *_KUBERNETES, "k8s.io/kubernetes/cmd/kube-controller-manager",
            ("--version",), "same minor", 209,
        ),
    )
}  # fmt: skip

NODE_ONLY = ("coredns", "kubelet", "kube-proxy", "kube-scheduler", "kube-controller-manager")
"""What runs pods: only the end-to-end tests need it, and it is seven minutes of building."""


@cache
def _pinned(family: str, module: str) -> str:
    text = (GOMOD / family / "go.mod").read_text()
    found = re.search(rf"^\s*(?:require\s+)?{re.escape(module)}\s+(v\S+)", text, re.MULTILINE)
    if found is None:
        raise LookupError(f"gomod/{family}/go.mod does not require {module}; add it with `go get {module}@VERSION`.")
    return found[1]


def needed_go(family: str) -> Version:
    """The Go version that the family's go.mod asks for."""
    text = (GOMOD / family / "go.mod").read_text()
    found = re.search(r"^go\s+(\S+)", text, re.MULTILINE)
    version = parse_version(found[1]) if found else None
    if version is None:
        raise LookupError(f"gomod/{family}/go.mod has no `go 1.N` line.")
    return version
