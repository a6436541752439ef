"""`python -m localcluster`: build the binaries, or run a cluster until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from localcluster.binaries import ALL, USUAL, ensure_binaries
from localcluster.errors import LocalClusterError

EXAMPLES = """\
examples:
  python -m localcluster build               find or build what demo and tests need (once: about 12 minutes)
  python -m localcluster build kubectl etcd  only these
  python -m localcluster up                  a Kubernetes API and a Prometheus until Ctrl-C
  python -m localcluster up --directory build/cluster
                                             the same, and keep data, kubeconfig and logs there
"""


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0, or 1 with one readable message on stderr."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "build":
            return _build(options.names or list(USUAL))
        return _up(options.directory, options.scrape_interval)
    except LocalClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m localcluster",
        description="A real Kubernetes control plane and Prometheus on this machine, without Docker.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="find or build the binaries")
    build.add_argument(
        "names", nargs="*", type=_known, metavar="NAME", help=f"{', '.join(ALL)} (default: {', '.join(USUAL)})"
    )
    up = commands.add_parser("up", help="run a cluster until Ctrl-C")
    up.add_argument("--directory", type=Path, help="keep everything there; default: temporary, deleted at the end")
    up.add_argument("--scrape-interval", type=float, default=5.0, metavar="SECONDS", help="of Prometheus (default 5)")
    return parser


def _known(name: str) -> str:
    if name not in ALL:
        raise argparse.ArgumentTypeError(f"there is no {name!r}; choose from {', '.join(ALL)}")
    return name


def _build(names: list[str]) -> int:
    for name, path in ensure_binaries(names).items():
        print(f"{name}: {path}")
    return 0


def _up(directory: Path | None, scrape_interval_seconds: float) -> int:
    from localcluster.cluster import LocalCluster

    asked_to_stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked_to_stop.set())
    print("starting etcd, kube-apiserver and Prometheus …", file=sys.stderr)
    with LocalCluster(directory=directory, scrape_interval_seconds=scrape_interval_seconds) as cluster:
        print(f"Kubernetes   {cluster.control_plane.url}")
        print(f"Prometheus   {cluster.prometheus.url}")
        print(f"kubectl      {cluster.control_plane.kubectl_path}")
        print(f"logs, data   {cluster.directory}")
        print(f"\n  export KUBECONFIG={cluster.kubeconfig}\n\nCtrl-C stops it all.", flush=True)
        asked_to_stop.wait()
        print("stopping …", file=sys.stderr)
    return 0
