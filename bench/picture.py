"""A report as a picture: `python -m bench.picture RUN OUT.png [HEIGHT] [WIDTH]`, in headless Chromium.

The report is made anew, with the checkers and the page of today, in a copy of the run's folder. docs/images are such
pictures, 1200 pixels wide; commits tell of which runs.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from harness import review, store
from tests.conftest import find_chromium

WIDTH, HEIGHT = 1200, 1500


def draw(page_at: Path, out: Path, height: int = HEIGHT, width: int = WIDTH) -> None:
    """Write the top of a page, when it has been drawn."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--headless", "--no-sandbox"])
        page = browser.new_page(
            viewport={"width": width, "height": height}, reduced_motion="reduce", device_scale_factor=1
        )
        page.goto(page_at.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        page.screenshot(path=out)
        browser.close()


def main(run: str, out: str, *size: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, *Path(run).resolve().parts[-2:])
        shutil.copytree(Path(run).resolve(), folder)
        review.report(folder, open_report=False)
        draw(folder / store.REPORT, Path(out), *map(int, size))


if __name__ == "__main__":
    main(*sys.argv[1:])
