"""The pages that are made of code: CRD, control API, commands, and the tables of metrics."""

from pathlib import Path

from docsite.commands import commands
from docsite.control_api import control_api
from docsite.managed_model import managed_model
from docsite.metrics import metrics_page
from docsite.staging import DOCS


def generated() -> dict[Path, str]:
    """Each page with what it should be."""
    metrics = DOCS / "metrics.md"
    return {
        DOCS / "reference" / "managedmodel.md": managed_model(),
        DOCS / "reference" / "control-api.md": control_api(),
        DOCS / "reference" / "commands.md": commands(),
        metrics: metrics_page(metrics.read_text()),
    }
