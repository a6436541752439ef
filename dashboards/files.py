"""The dashboards as files, ready to import: in the chart, or in any other folder."""

import json
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.fleet import fleet
from dashboards.model import model
from dashboards.operator import operator

FOLDER = Path(__file__).resolve().parents[1] / "charts" / "dormouse" / "dashboards"
BUILDERS = {"dormouse-fleet": fleet, "dormouse-model": model, "dormouse-operator": operator}


def generated(folder: Path = FOLDER) -> dict[Path, str]:
    """Each dashboard's file with what it should be."""
    return {folder / f"{name}.json": as_json(build()) for name, build in BUILDERS.items()}


def as_json(board: Dashboard) -> str:
    return json.dumps(board.build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write(folder: Path) -> None:
    """For who imports them by hand."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in generated(folder).items():
        file.write_text(text, encoding="utf-8")
