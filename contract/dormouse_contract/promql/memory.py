"""GPU memory: what the weights hold, what is given back, and what that saved over time. Bytes, as replicas measured."""

from .. import metrics
from ..metrics import Metric
from . import replicas
from .replicas import REPLICA, counted
from .selection import SIMULATED, Selection

GIB_HOUR = "3600 / 2^30"
"""What byte-seconds are divided by, for GiB·h."""
DCGM_USED = 'max by (gpu_uuid) (label_replace(DCGM_FI_DEV_FB_USED, "gpu_uuid", "$1", "UUID", "(.+)")) * 2^20'
"""All that is used on each device, where NVIDIA's DCGM exporter is scraped."""


def of_replicas(metric: Metric, selection: Selection) -> str:
    """A gauge of memory per replica, without the simulated ones."""
    return counted(replicas.now(selection.series(metric)), selection)


def by_model(metric: Metric, selection: Selection) -> str:
    return f"sum by (namespace, model) ({of_replicas(metric, selection)})"


def held(selection: Selection) -> str:
    return f"sum({of_replicas(metrics.GPU_MEMORY, selection)})"


def released(selection: Selection) -> str:
    return f"sum({of_replicas(metrics.RELEASED, selection)})"


def share_released(selection: Selection) -> str:
    """Of what the weights would hold if none slept."""
    return f"{released(selection)} / ({released(selection)} + {held(selection)})"


def saved_by_replicas(selection: Selection, within: str) -> str:
    """Byte-seconds, from the counter that each replica integrates itself: exact between scrapes."""
    series = selection.series(metrics.RELEASED_BYTE_SECONDS)
    return counted(replicas.increase(series, within), selection, within)


def saved(selection: Selection, within: str, by: str = "") -> str:
    """Byte-seconds of all, or by the labels `by`."""
    return f"sum{f' by ({by}) ' if by else ''}({saved_by_replicas(selection, within)})"


def devices(selection: Selection) -> str:
    """How many replicas are on each device; a simulated one has a name that begins with `sim`."""
    return f"count by (device) (group by ({REPLICA}, device) ({selection.series(metrics.GPU_INFO)}))"


def simulated(selection: Selection) -> str:
    return f"count({replicas.now(selection.series(metrics.GPU_INFO, SIMULATED))}) or vector(0)"


def of_processes(selection: Selection) -> str:
    """By device, as the driver counts it."""
    return f"sum by (gpu_uuid) ({_processes(selection)})"


def of_processes_of_models(selection: Selection) -> str:
    """By pod, of those that have a model of the selection."""
    models = selection.series(metrics.RESIDENCY)
    return f"sum by (namespace, pod) (({_processes(selection)}) and on (cluster, namespace, pod) {models})"


def of_devices(selection: Selection) -> str:
    """All that is used on the devices of the selection's models."""
    return f"{DCGM_USED} and on (gpu_uuid) group by (gpu_uuid) ({selection.series(metrics.GPU_INFO)})"


def of_devices_of_processes(selection: Selection) -> str:
    """The same, on the devices that the driver sees a model process on."""
    return f"{DCGM_USED} and on (gpu_uuid) {of_processes(selection)}"


def _processes(selection: Selection) -> str:
    """By process and device. A pod that two jobs scrape counts once; servers outside of pods differ by address."""
    in_pods, others = (selection.series(metrics.PROCESS_GPU_MEMORY, pod) for pod in ('pod!=""', 'pod=""'))
    by = "cluster, namespace, pod, gpu_uuid"
    return f"max by ({by}) ({in_pods}) or max by ({by}, instance) ({others})"
