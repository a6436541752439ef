"""`/metrics` parses, has exactly the pod metrics of the contract, and its figures are true."""

import math

import httpx
import pytest
from dormouse_contract import metrics
from dormouse_modelserver import ModelChanged, Residency, ResidencyManager
from prometheus_client.parser import text_string_to_metric_families

# The other pod metrics are the sidecar's, or the operator's.
NOT_HERE = {metrics.PROCESS_UP, metrics.TRUST_EXPIRY}
HERE = {m for m in metrics.ALL if not m.name.startswith("dormouse_operator_")} - NOT_HERE

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def scrape(client: httpx.AsyncClient, path: str = "/metrics") -> Samples:
    response = await client.get(path)
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    found: Samples = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, "a series comes once"
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted({"model": "tts", **labels}.items()))]


def base(name: str) -> str:
    for suffix in ("_bucket", "_sum", "_count"):
        if name.endswith(suffix) and name.removesuffix(suffix) in {m.name for m in HERE}:
            return name.removesuffix(suffix)
    return name


async def test_the_metrics_are_exactly_the_contracts(control: httpx.AsyncClient, manager: ResidencyManager) -> None:
    async with manager["tts"].on_gpu():
        pass
    await manager["tts"].amove_to(Residency.CPU)
    samples = await scrape(control)
    labels = {base(name): {label for label, _ in pairs} - {"le"} for name, pairs in samples}
    assert labels == {metric.name: set(metric.labels) for metric in HERE}
    assert await scrape(control, "/dormouse/metrics")


async def test_before_the_first_use_each_series_a_query_needs_is_there(control: httpx.AsyncClient) -> None:
    samples = await scrape(control)
    assert value(samples, "dormouse_model_residency", residency="Unloaded") == 1
    assert value(samples, "dormouse_model_residency", residency="GPU") == 0
    for outcome in ("ok", "error", "timeout", "rejected"):
        assert value(samples, "dormouse_model_requests_total", outcome=outcome) == 0
    assert value(samples, "dormouse_model_last_transition_timestamp_seconds") == 0
    assert math.isnan(value(samples, "dormouse_model_restore_estimate_seconds"))
    assert value(samples, "dormouse_model_idle_since_timestamp_seconds") > 1.5e9
    assert value(samples, "dormouse_model_last_request_end_timestamp_seconds") > 1.5e9


async def test_figures_follow_what_happens(control: httpx.AsyncClient, manager: ResidencyManager) -> None:
    tts = manager["tts"]
    async with tts.on_gpu():
        held = await scrape(control)
        assert value(held, "dormouse_model_in_flight_requests") == 1
        assert value(held, "dormouse_model_idle_since_timestamp_seconds") == 0
        assert value(held, "dormouse_model_gpu_memory_bytes") == 512
        assert value(held, "dormouse_model_residency", residency="GPU") == 1
    try:
        async with tts.on_gpu():
            raise ValueError
    except ValueError:
        pass
    await tts.amove_to(Residency.CPU)
    asleep = await scrape(control)
    assert value(asleep, "dormouse_model_requests_total", outcome="ok") == 1
    assert value(asleep, "dormouse_model_requests_total", outcome="error") == 1
    assert value(asleep, "dormouse_model_gpu_memory_released_bytes") == 512
    assert value(asleep, "dormouse_model_gpu_memory_bytes") == 0
    moved = {"from": "GPU", "to": "CPU", "trigger": "Manual", "outcome": "ok"}
    assert value(asleep, "dormouse_transitions_total", **moved) == 1
    assert value(asleep, "dormouse_wake_wait_seconds_count") == 1
    later = await scrape(control)
    name = "dormouse_gpu_memory_released_byte_seconds_total"
    assert value(later, name) > value(asleep, name) >= 0


async def test_a_simulated_device_says_that_it_is_one(control: httpx.AsyncClient) -> None:
    samples = await scrape(control)
    assert value(samples, "dormouse_model_gpu_info", gpu_uuid="sim", device="sim:1MiB") == 1


async def test_an_unload_that_was_refused_shows_until_the_next_use(
    control: httpx.AsyncClient, manager: ResidencyManager
) -> None:
    tts = manager["tts"]
    async with tts.on_gpu() as model:
        for parameter in model.parameters():
            parameter.data += 1
    await tts.amove_to(Residency.CPU)
    assert value(await scrape(control), "dormouse_model_unload_refused") == 0
    with pytest.raises(ModelChanged):
        await tts.amove_to(Residency.UNLOADED)
    assert value(await scrape(control), "dormouse_model_unload_refused") == 1
    async with tts.on_gpu():
        pass
    assert value(await scrape(control), "dormouse_model_unload_refused") == 0
