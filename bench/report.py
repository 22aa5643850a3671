"""How long a report takes to make and to draw, and how large it is.

    python -m bench.report [--ops 100000] [--chromium chromium]

Prints one JSON line: seconds of CPU to write report.html for that many operations and its size; where a Chromium is
found, also the milliseconds of the page's load, of one redraw of the timeline (median and worst of many zoom levels),
and of counting the charts' buckets anew. The history is random, of the shape of a real one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from harness.report.html import write_report
from tests.harness.report.synthetic import make_long_run

FRAMES = 60
LOAD_TIMEOUT_MS = 120_000
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
ZOOM = """frames => {
  const { view, timeline, charts } = report, redraws = [], counts = [], whole = view.full[1];
  for (let i = 0; i < frames; i++) {
    const half = whole / 2 / (1 + i / 4);
    view.set(whole / 2 - half, whole / 2 + half);
    let began = performance.now();
    timeline.draw();
    redraws.push(performance.now() - began);
    began = performance.now();
    charts.count();
    counts.push(performance.now() - began);
  }
  return [redraws, counts];
}"""


def made(folder: Path, ops: int) -> dict[str, Any]:
    """Write a run and its report; return what that cost."""
    make_long_run(folder, ops)
    began_s = time.process_time()
    path = write_report(folder)
    return {"ops": ops, "write_cpu_s": round(time.process_time() - began_s, 2), "size_bytes": path.stat().st_size}


def drawn(page_uri: str, chromium: str) -> dict[str, Any]:
    """Open the page and zoom through it; return the figures in milliseconds."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        began_s = time.monotonic()
        page.goto(page_uri)
        page.wait_for_selector("html[data-ready]", state="attached", timeout=LOAD_TIMEOUT_MS)
        load_ms = (time.monotonic() - began_s) * 1000
        redraws, counts = page.evaluate(ZOOM, FRAMES)
        browser.close()
    return {
        "load_ms": round(load_ms),
        "redraw_median_ms": round(statistics.median(redraws), 1),
        "redraw_worst_ms": round(max(redraws), 1),
        "count_median_ms": round(statistics.median(counts), 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ops", type=int, default=100_000)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        figures = made(folder, options.ops)
        if options.chromium:
            figures |= drawn((folder / "report.html").as_uri(), options.chromium)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
