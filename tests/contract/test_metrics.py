"""The metric names are the contract's, letter by letter: dashboards and queries outside are made of them."""

import pytest
from dormouse_contract import metrics
from dormouse_contract.metrics import Metric, MetricType

POD = """
dormouse_model_residency{model,residency}
dormouse_model_in_flight_requests{model}
dormouse_held_requests{model}
dormouse_model_last_request_end_timestamp_seconds{model}
dormouse_model_idle_since_timestamp_seconds{model}
dormouse_model_transition_start_timestamp_seconds{model}
dormouse_model_last_transition_timestamp_seconds{model}
dormouse_model_requests_total{model,outcome}
dormouse_model_gpu_memory_bytes{model}
dormouse_model_host_memory_bytes{model}
dormouse_model_gpu_memory_released_bytes{model}
dormouse_gpu_memory_released_byte_seconds_total{model}
dormouse_model_gpu_memory_residual_bytes{model}
dormouse_model_restore_estimate_seconds{model}
dormouse_model_oldest_use_timestamp_seconds{model}
dormouse_transitions_total{model,from,to,trigger,outcome}
dormouse_transition_duration_seconds{model,from,to}
dormouse_wake_wait_seconds{model}
dormouse_process_gpu_memory_bytes{gpu_uuid}
dormouse_host_memory_budget_bytes
dormouse_model_gpu_info{model,gpu_uuid,device}
dormouse_model_load_failures_total{model}
dormouse_background_failures_total{thread}
dormouse_model_process_up
dormouse_sidecar_trust_expiry_timestamp_seconds
dormouse_build_info{version}
"""
OPERATOR = """
dormouse_operator_managed_models{residency}
dormouse_operator_managed_model_condition{namespace,name,type,status,reason}
dormouse_operator_reconcile_duration_seconds
dormouse_operator_last_reconcile_timestamp_seconds
dormouse_operator_orders_total{desired,outcome}
dormouse_operator_prometheus_queries_total{outcome}
dormouse_operator_idle_signal_missing{namespace,name}
dormouse_operator_observed_releasable_bytes{namespace,name}
dormouse_operator_certificate_expiry_timestamp_seconds
dormouse_operator_key_source_usable
dormouse_operator_leader
"""
HISTOGRAMS = {
    "dormouse_transition_duration_seconds",
    "dormouse_wake_wait_seconds",
    "dormouse_operator_reconcile_duration_seconds",
}

# Not promised to anybody outside, but shown on our own dashboard.
BESIDE_THE_CONTRACT = """
dormouse_model_unload_refused{model}
dormouse_operator_api_requests_total{verb,outcome}
dormouse_operator_idle_signal_fresh_for_seconds
dormouse_operator_idle_signal_too_large{namespace}
dormouse_operator_ignored_models_total{namespace}
dormouse_operator_oldest_waiting_call_seconds{namespace}
dormouse_operator_replica_info{namespace,name,pod,model}
dormouse_operator_shared_managed_models{operator}
dormouse_operator_trust_not_published{namespace}
dormouse_operator_visit_failures_total{namespace,name,reason}
dormouse_operator_watch_last_alive_timestamp_seconds{resource,namespace}
"""


def written(metric: Metric) -> str:
    return metric.name + (f"{{{','.join(metric.labels)}}}" if metric.labels else "")


def test_names_and_labels_are_exactly_the_contracts() -> None:
    assert sorted(map(written, metrics.ALL)) == sorted((POD + OPERATOR + BESIDE_THE_CONTRACT).split())


@pytest.mark.parametrize("metric", metrics.ALL, ids=lambda metric: metric.name)
def test_a_name_says_what_kind_of_metric_it_is(metric: Metric) -> None:
    assert (metric.type is MetricType.COUNTER) is metric.name.endswith("_total")
    assert (metric.type is MetricType.HISTOGRAM) is (metric.name in HISTOGRAMS)
    assert metric.help
    assert not metric.help.endswith(".")
