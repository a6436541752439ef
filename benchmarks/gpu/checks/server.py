"""`serve` under 50 clients while its models sleep all the time, and what an awake model pays for Dormouse."""

import asyncio
import gc
import os
from typing import Any

import torch

from benchmarks.serving.apps import WIDTH_VARIABLE
from benchmarks.serving.latency import compare
from benchmarks.serving.load import right_answers, storm
from benchmarks.serving.servers import SIM_DEVICE, Subject, with_dormouse, without

from ..reporting import Report

_CLIENTS = 50
_SECONDS, _SIM_SECONDS = 60.0, 4.0
# Two layers of 12 × width² float32 weights: 1.6 GB, for each of the five models.
_WIDTH, _SIM_WIDTH = 4096, 128
# With ÷ without, of the p99 of an awake model.
_MOST_RATIO = 1.10
# For the second server, the pairs, and the end.
_LATER_SECONDS = 40.0


def run(report: Report) -> None:
    subject = Subject(SIM_DEVICE, _SIM_WIDTH) if report.simulated else Subject(report.device, _WIDTH)
    os.environ[WIDTH_VARIABLE] = str(subject.width)
    report.step("right answers, by a twin")
    right = _right(subject)
    report.step("starting the server")
    with with_dormouse(subject) as url:
        seconds = _SIM_SECONDS if report.simulated else max(5.0, min(_SECONDS, report.left_at_most - _LATER_SECONDS))
        report.step(f"{_CLIENTS} clients for {seconds:.0f} s")
        with report.part("50 clients"):
            _tell_load(report, asyncio.run(storm(url, _CLIENTS, seconds, right)), seconds)
        with report.part("what Dormouse costs an awake model"), without(subject) as plain_url:
            pairs, requests = (1, 100) if report.simulated else (6, 400)
            report.step(f"latency of an awake model, {pairs} pairs")
            _tell_latency(report, asyncio.run(compare(url, plain_url, pairs, requests)))


def _right(subject: Subject) -> list[float]:
    right = right_answers(subject.torch_device)
    if subject.torch_device != "cpu":
        gc.collect()
        torch.cuda.empty_cache()
    return right


def _tell_load(report: Report, load: dict[str, Any], seconds: float) -> None:
    report.figures("50 clients, timeouts of 0 to 2 s", load)
    report.held(
        "50 clients: 0 failed", load["failed"] == 0 and load["ok"] > 0, f"{load['ok']} ok, {load['failed']} failed"
    )
    report.held("50 clients: 0 wrong", load["wrong"] == 0, f"{load['wrong']} wrong")
    report.held("50 clients: models slept and woke meanwhile", load["sleeps"] > 0 and load["wakes"] > 0)
    if not report.simulated and seconds < _SECONDS:
        report.not_tried("50 clients for 60 s", f"{seconds:.0f} s in the time there was")


def _tell_latency(report: Report, latency: dict[str, Any]) -> None:
    ratios = {key: latency[key] for key in ("p99_ratio_median", "p99_ratio_min", "p99_ratio_max")}
    report.figures("p99 of an awake model, with ÷ without Dormouse", {**ratios, "pairs": len(latency["rounds"])})
    if report.simulated:
        return
    median = latency["p99_ratio_median"]
    report.held(f"p99 awake, with ÷ without Dormouse, at most {_MOST_RATIO}", median <= _MOST_RATIO, f"{median:.3f}")
