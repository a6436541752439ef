"""The table of docs/benchmarks-operator.md, between two markers."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- operator: begin -->", "<!-- operator: end -->"
ROWS = (
    ("of them bad, each in one of ten ways", "bad", None),
    ("initial sync (s)", "initial_sync_seconds", 30.0),
    ("until each honest one has its first status (s)", "first_status_seconds", 120.0),
    ("until the last write about an honest one (s)", "settled_seconds", None),
    ("memory, steady (MB)", "rss_mb", 256.0),
    ("memory, most (MB)", "peak_rss_mb", 256.0),
    ("steady CPU (% of one core)", "steady_cpu_percent", 5.0),
    ("one pass, steady (s)", "tick_seconds", None),
    ("API requests per minute, nothing changes", "api_requests_per_minute_idle", None),
    ("API writes, nothing changes", "api_writes_idle", 0.0),
    ("CPU while 5 % become idle per tick (% of one core)", "idle_cpu_percent", 15.0),
    ("idle reached → order sent, p50 (s)", "idle_to_order_seconds_p50", None),
    ("idle reached → order sent, p99 (s)", "idle_to_order_seconds_p99", 45.0),
    ("the same without the bad ones, p50 (s)", "idle_to_order_seconds_p50_alone", None),
    ("the same without the bad ones, p99 (s)", "idle_to_order_seconds_p99_alone", None),
    ("/healthz not 200, of one question in five seconds", "unhealthy", 0.0),
)


def machine() -> str:
    info = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), "")
    date = datetime.now(UTC).date().isoformat()
    return f"{name or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {date}"


def write_page(page: Path, content: dict[str, Any]) -> None:
    """Raises ValueError when the page has no markers."""
    text = page.read_text()
    before, found, rest = text.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not found or not found_end:
        raise ValueError(f"{page} has no lines '{BEGIN}' and '{END}'; put them where the table shall be")
    page.write_text(f"{before}{BEGIN}\n\n{table(content)}\n\n{END}{after}")


def table(content: dict[str, Any]) -> str:
    sizes = content["sizes"]
    head = ["", *(f"{size['models']:,} models" for size in sizes), "target at 10,000"]
    lines = [
        f"Measured on {content['machine']}; load average {content['load_average']:.1f} at the start; tick and scrape "
        f"every {content['tick_seconds_set']:g} s; pods of {max(size['pod_bytes'] for size in sizes):,} bytes.",
        "",
        "| " + " | ".join(head) + " |",
        "| --- " + "| ---: " * (len(sizes) + 1) + "|",
    ]
    for title, name, target in ROWS:
        cells = ["" if size[name] is None else f"{size[name]:,}" for size in sizes]
        limit = "" if target is None else f"{'≤ ' if target else ''}{target:g}"
        lines.append("| " + " | ".join([title, *cells, limit]) + " |")
    return "\n".join(lines)
