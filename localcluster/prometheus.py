"""A real Prometheus with its own directory and port, whose targets may come and go while it runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from localcluster.binaries import ensure_binaries
from localcluster.errors import NotReadyInTime, QueryFailed
from localcluster.ports import reserve_port
from localcluster.process import Process

READY_DEADLINE_SECONDS = 60.0
# Prometheus watches the target files; this is only for file systems that don't tell about changes.
TARGET_REFRESH_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Target:
    """`address` is host:port; `labels` (usually namespace and pod) are put on every series it gives."""

    address: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """One element of an instant vector; `time` in Unix seconds."""

    labels: Mapping[str, str]
    value: float
    time: float


class Prometheus:
    """Starts with `start()` or `with`. `url` stays the same over `stop()` and `start()`."""

    def __init__(
        self,
        directory: Path,
        *,
        scrape_interval_seconds: float = 1.0,
        config: Mapping[str, Any] | None = None,
        rule_files: Sequence[Path] = (),
    ) -> None:
        """`config` is merged over ours at the top level; its `scrape_configs` are added to ours."""
        self.directory = directory
        self.scrape_interval_seconds = scrape_interval_seconds
        self._targets = directory / "targets"
        for kind in ("plain", "honored"):
            (self._targets / kind).mkdir(parents=True, exist_ok=True)
        self.port = reserve_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config_file = directory / "prometheus.yml"
        self.config_file.write_text(yaml.safe_dump(self._config(config or {}, rule_files), sort_keys=False))
        self.process = Process(
            "prometheus",
            [
                ensure_binaries(("prometheus",))["prometheus"],
                f"--config.file={self.config_file}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--web.enable-lifecycle",
                # Undocumented but real: by default a changed target waits for up to 5 s once more.
                "--scrape.discovery-reload-interval=100ms",
                "--log.level=warn",
            ],
            directory=directory,
        )

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start it and return when it answers; after `stop()`, with the same data on the same port."""
        self.process.start()
        self.process.wait_until(self._is_ready, deadline_seconds=READY_DEADLINE_SECONDS, what="ready")
        return self

    def stop(self) -> None:
        """Stop it in order; what it scraped is kept."""
        self.process.stop()

    def set_targets(self, group: str, targets: Iterable[Target], *, honor_labels: bool = False) -> None:
        """Replace the targets of `group` (which becomes their `job` label), while it runs or before.

        Prometheus looks for changes every 5 s, so the first scrape may take that long; `wait_for` with
        `up{job="GROUP"}` returns when it came. With `honor_labels` the target's own namespace and pod labels
        win, as for the operator's metrics.
        """
        entries = [{"targets": [t.address], "labels": {"job": group, **t.labels}} for t in targets]
        file = self._targets / ("honored" if honor_labels else "plain") / f"{group}.json"
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(entries))
        partial.replace(file)

    def query(self, promql: str, *, at: float | None = None) -> list[Sample]:
        """An instant query, now or at Unix seconds. A scalar comes as one sample without labels. Raises QueryFailed."""
        asked: dict[str, str | float] = {"query": promql} if at is None else {"query": promql, "time": at}
        response = httpx.get(f"{self.url}/api/v1/query", params=asked, timeout=10, trust_env=False)
        answer = response.json()
        if answer["status"] != "success":
            raise QueryFailed(f"Prometheus refused {promql!r}: {answer.get('error')}. Correct the query.")
        data = answer["data"]
        if data["resultType"] == "scalar":
            when, value = data["result"]
            return [Sample({}, float(value), float(when))]
        return [Sample(r["metric"], float(r["value"][1]), float(r["value"][0])) for r in data["result"]]

    def wait_for(
        self,
        promql: str,
        accept: Callable[[list[Sample]], bool] = bool,
        *,
        deadline_seconds: float = 30.0,
    ) -> list[Sample]:
        """Query until `accept` likes the answer (by default: until there is any). Raises NotReadyInTime."""
        deadline = time.monotonic() + deadline_seconds
        while not accept(found := self.query(promql)):
            if time.monotonic() >= deadline:
                raise NotReadyInTime(
                    f"{promql!r} is not as awaited after {deadline_seconds:g} s; last: {found}. "
                    f"Prometheus runs on; see {self.url}/targets for what it scrapes."
                )
            time.sleep(0.1)
        return found

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=2, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def _config(self, extra: Mapping[str, Any], rule_files: Sequence[Path]) -> dict[str, Any]:
        interval = f"{round(self.scrape_interval_seconds * 1000)}ms"
        timeout = f"{round(min(self.scrape_interval_seconds, 10) * 1000)}ms"
        jobs = [
            {
                "job_name": kind,
                "honor_labels": kind == "honored",
                "file_sd_configs": [
                    {
                        "files": [f"{self._targets / kind}/*.json"],
                        "refresh_interval": f"{TARGET_REFRESH_SECONDS}s",
                    }
                ],
            }
            for kind in ("plain", "honored")
        ]
        return {
            "global": {
                "scrape_interval": interval,
                "scrape_timeout": timeout,
                "evaluation_interval": interval,
            },
            "rule_files": [str(path.absolute()) for path in rule_files],
            **extra,
            "scrape_configs": [*jobs, *extra.get("scrape_configs", [])],
        }
