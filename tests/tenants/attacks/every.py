"""The table of all attacks."""

from __future__ import annotations

from .. import naming
from ..attack import Attack, Begin, Named
from . import clients, numbers, objects, samples, silence, words

# What is called is waited for, and only then somebody else's turn is late.
CALLS_SECONDS = 10.0
# Prometheus scrapes these every 5 s.
SERIES_SECONDS = 14.0


def _attack(begin: Begin, named: Named, *forged: str, seconds: float = 8.0) -> Attack:
    return Attack(begin.__name__.replace("_", "-"), begin, named, forged, seconds)


ATTACKS = (
    _attack(numbers.two_models_of_1e308_bytes, naming.DISBELIEVED),
    _attack(numbers.figures_in_series, naming.DISBELIEVED),
    _attack(numbers.figures_on_the_wire, naming.PASSED_OVER),
    _attack(words.names_of_models, naming.DROPPED, words.FORGED),
    _attack(words.reasons_and_details, naming.PASSED_OVER, words.FORGED),
    _attack(words.answers_that_are_no_text, naming.PASSED_OVER),
    _attack(words.a_new_reason_every_second, naming.PASSED_OVER),
    _attack(silence.one_pod_of_300_models_that_takes_no_order, naming.TOO_MANY, seconds=CALLS_SECONDS),
    _attack(silence.one_pod_of_300_models_that_says_nothing, naming.SILENT, seconds=CALLS_SECONDS),
    _attack(silence.one_pod_of_300_models_that_refuses, naming.TOO_MANY, seconds=CALLS_SECONDS),
    _attack(silence.policies_for_300_models_that_take_their_time, naming.TOO_MANY, seconds=CALLS_SECONDS),
    _attack(silence.pods_by_the_hundred_that_take_no_order, naming.SILENT, seconds=CALLS_SECONDS),
    _attack(silence.handshakes_that_stall, naming.TOO_MANY, seconds=CALLS_SECONDS),
    _attack(silence.answers_by_the_drop, naming.SILENT, seconds=CALLS_SECONDS),
    _attack(silence.half_answers, naming.SILENT, seconds=CALLS_SECONDS),
    _attack(silence.answers_without_end, naming.PASSED_OVER, seconds=CALLS_SECONDS),
    _attack(silence.redirects, naming.PASSED_OVER, seconds=CALLS_SECONDS),
    _attack(objects.dear_schedules, naming.TOO_DEAR),
    _attack(objects.a_managed_model_that_changes_fifty_times_a_second, naming.PASSED_OVER),
    _attack(objects.pods_that_come_and_go, naming.PASSED_OVER),
    _attack(objects.rivals_for_one_pod, naming.RIVALS),
    _attack(objects.large_objects, naming.PASSED_OVER),
    _attack(objects.trust_that_may_not_be_changed, naming.NO_TRUST),
    _attack(objects.trust_that_is_full, naming.NO_TRUST),
    _attack(objects.trust_that_is_taken_away, naming.PASSED_OVER),
    _attack(samples.series_by_the_hundred_thousand_without_a_managed_model, naming.PASSED_OVER, seconds=SERIES_SECONDS),
    _attack(samples.series_by_the_hundred_thousand, naming.TOO_LARGE, seconds=SERIES_SECONDS),
    _attack(samples.twenty_thousand_models_in_one_pod, naming.TOO_LARGE, seconds=SERIES_SECONDS),
    _attack(samples.labels_as_long_as_they_get, naming.TOO_LARGE, seconds=SERIES_SECONDS),
    _attack(samples.series_of_somebody_else, naming.PASSED_OVER, seconds=SERIES_SECONDS),
    _attack(clients.readers_that_read_nothing, naming.PASSED_OVER),
)
