"""The page in a browser: it draws, jumps, filters and zooms, without an error on the console and without a network."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from checkers.judge import judge
from harness.history import read_lines
from harness.report.html import write_page

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
DEADLINE_MS = 30_000

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS, timeout=DEADLINE_MS)
        yield started
        started.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Open a run's report and wait until it is drawn; afterwards nothing may have gone wrong in it."""
    troubles: list[str] = []
    requests: list[str] = []
    contexts = []

    def visit(folder: Path, **options: Any) -> Page:
        # Without motion: the page scrolls smoothly, and a mouse would be sent to where things no longer are.
        context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(DEADLINE_MS)
        page.on("console", lambda message: troubles.append(f"console {message.type}: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("request", lambda request: requests.append(request.url))
        page.goto((folder / "report.html").as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert troubles == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []


def span(page: Page) -> float:
    return page.evaluate("report.view.max - report.view.min")


def inked(page: Page, canvas: str) -> int:
    """How many pixels of a canvas are not empty."""
    return page.evaluate(
        """id => { const c = document.getElementById(id);
            const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
            let n = 0; for (let i = 3; i < d.length; i += 4) if (d[i]) n++; return n; }""",
        canvas,
    )


def settled(page: Page) -> None:
    """Wait for the frame that draws what was just asked for."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def until(page: Page, condition: str) -> None:
    """Wait for a condition, frame by frame (the page's policy forbids the eval that Playwright's own waiting uses)."""
    deadline_s = time.monotonic() + DEADLINE_MS / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < deadline_s, condition
        settled(page)


def test_everything_is_drawn(bad_run: Path, visit: Open) -> None:
    page = visit(bad_run)
    for canvas in ("ruler", "leaders", "timeline"):
        assert inked(page, canvas) > 500, canvas
    assert page.locator("#charts .uplot").count() >= 3
    assert page.locator("#charts figcaption b").last.inner_text() == "Throughput"
    assert page.locator("h1").inner_text() == "Invalid"


def test_clicking_an_anomaly_jumps_to_its_operations(bad_run: Path, visit: Open) -> None:
    page = visit(bad_run)
    button = page.locator(".card .jump.primary").first
    wanted = [int(index) for index in (button.get_attribute("data-ops") or "").split(",")]
    button.click()
    settled(page)
    marked = page.evaluate("report.timeline.marked.map(i => report.calls.completed[i])")
    assert sorted(marked) == sorted(wanted)
    inside = page.evaluate(
        "report.timeline.marked.every(i => report.calls.start[i] >= report.view.min && report.calls.end[i] <= report.view.max)"
    )
    assert inside
    assert f"{len(wanted)} operation" in page.locator("#shown").inner_text()
    assert page.locator("#detail mark").count() >= 1
    until(page, "document.getElementById('timeline').getBoundingClientRect().top < innerHeight")


def test_a_jump_clears_filters_that_would_hide_it(bad_run: Path, visit: Open) -> None:
    page = visit(bad_run)
    page.fill("#filter-process", "9999")
    until(page, "report.timeline.matching === 0")
    page.locator(".card .jump.primary").first.click()
    until(page, "report.timeline.matching === report.calls.count")
    assert page.evaluate("report.timeline.marked.length") >= 1


def test_filters_show_what_they_say(bad_run: Path, visit: Open) -> None:
    page = visit(bad_run)
    total = page.evaluate("report.calls.count")
    page.locator("#filter-outcome label", has_text="ok").click()
    until(page, "report.timeline.matching < report.calls.count")
    not_ok = page.evaluate("report.calls.outcome.reduce((n, o) => n + (report.facts.calls.outcomes[o] !== 'ok'), 0)")
    assert page.evaluate("report.timeline.matching") == not_ok
    assert page.locator("#matches").inner_text().startswith(f"{not_ok:,} of {total:,}")
    page.locator("#filters button[type=reset]").click()
    until(page, "report.timeline.matching === report.calls.count")
    page.fill("#filter-process", "3, 7-8")
    until(page, "report.timeline.matching < report.calls.count")
    shown = page.evaluate(
        "[...new Set([...report.calls.process].filter((_, i) => report.timeline.visible[i]).map(p => report.facts.calls.processes[p]))]"
    )
    assert sorted(shown) == [3, 7, 8]


def test_a_partition_filter_keeps_calls_that_touch_it(bad_run: Path, visit: Open) -> None:
    page = visit(bad_run)
    page.select_option("#filter-key", label="t0/1")
    until(page, "report.timeline.matching < report.calls.count")
    right = page.evaluate(
        """() => { const { calls, facts, timeline } = report; const key = facts.calls.keys.indexOf("t0/1");
            for (let i = 0; i < calls.count; i++) {
              const touches = calls.key.slice(calls.keyAt[i], calls.keyAt[i + 1]).includes(key);
              if (touches !== Boolean(timeline.visible[i])) return false;
            } return true; }"""
    )
    assert right


def test_a_process_filter_that_makes_no_sense_is_marked_and_ignored(bad_run: Path, visit: Open) -> None:
    page = visit(bad_run)
    page.fill("#filter-process", "three")
    page.wait_for_selector("#filter-process[aria-invalid=true]")
    assert page.evaluate("report.timeline.matching === report.calls.count")


def test_buttons_keys_wheel_and_dragging_zoom_and_pan(bad_run: Path, visit: Open) -> None:
    page = visit(bad_run)
    whole = span(page)
    page.locator("[data-zoom=in]").click()
    assert span(page) == pytest.approx(whole / 2)
    page.locator("#viewport").focus()
    page.keyboard.press("+")
    assert span(page) == pytest.approx(whole / 4)
    before = page.evaluate("report.view.min")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("report.view.min") > before
    page.keyboard.press("0")
    assert span(page) == pytest.approx(whole)
    box = page.locator("#timeline").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + 30
    page.mouse.move(x, y)
    page.mouse.wheel(0, -600)
    until(page, f"report.view.max - report.view.min < {whole * 0.8}")
    left = page.evaluate("report.view.min")
    page.mouse.down()
    page.mouse.move(x - 120, y, steps=4)
    page.mouse.up()
    assert page.evaluate("report.view.min") > left


def test_dragging_over_a_chart_zooms_everything_to_that_stretch(bad_run: Path, visit: Open) -> None:
    page = visit(bad_run)
    whole = span(page)
    plot = page.locator("#charts .u-over").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] - 10
    page.mouse.move(box["x"] + 100, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 100 + box["width"] / 4, y, steps=5)
    page.mouse.up()
    until(page, f"report.view.max - report.view.min < {whole / 2}")
    assert span(page) == pytest.approx(whole / 4, rel=0.02)


def test_the_wheel_scrolls_the_page_until_the_timeline_was_clicked(bad_run: Path, visit: Open) -> None:
    page = visit(bad_run)
    whole = span(page)
    page.locator("#timeline").scroll_into_view_if_needed()
    box = page.locator("#timeline").bounding_box()
    assert box is not None
    before = page.evaluate("scrollY")
    page.mouse.move(box["x"] + 300, box["y"] + 40)
    page.mouse.wheel(0, -300)
    until(page, f"scrollY < {before}")
    assert span(page) == pytest.approx(whole)


def test_keys_step_through_operations_and_tell_what_they_are(bad_run: Path, visit: Open) -> None:
    page = visit(bad_run)
    page.locator("#viewport").focus()
    page.keyboard.press("n")
    first = page.locator("#detail .head b").inner_text()
    page.keyboard.press("n")
    assert page.locator("#detail .head b").inner_text() != first
    page.keyboard.press("p")
    assert page.locator("#detail .head b").inner_text() == first
    page.keyboard.press("i")
    assert page.evaluate("report.facts.calls.outcomes[report.calls.outcome[report.timeline.selected]]") != "ok"
    page.keyboard.press("Escape")
    assert page.locator("#detail").inner_text() == ""


def test_hovering_an_operation_tells_what_it_is(bad_run: Path, visit: Open) -> None:
    page = visit(bad_run)
    page.locator("#timeline").scroll_into_view_if_needed()
    place = page.evaluate(
        """() => { const t = report.timeline, c = report.calls; const i = Math.floor(c.count / 2);
            return [report.view.x(c.start[i]) + 1, (c.row[i] + 0.5) * t.rowHeight, c.completed[i]]; }"""
    )
    box = page.locator("#timeline").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + place[0], box["y"] + place[1])
    page.wait_for_selector("#tip:not([hidden])")
    assert "process" in page.locator("#tip").inner_text()


def test_an_injection_shows_before_its_window_and_the_healing_after_it(bad_run: Path, visit: Open) -> None:
    page = visit(bad_run)
    page.locator(".jump-time").first.click()
    settled(page)
    aimed, begins, heals, healed = page.evaluate(
        "(f => [f.aimed, f.begins, f.heals, f.healed])(report.facts.faults[0])"
    )
    assert aimed < begins < heals < healed
    for moment in ((aimed + begins) / 2, (begins + heals) / 2, (heals + healed) / 2):
        at = f"report.ruler.hit(report.view.x({moment}), report.ruler.height() - 10)"
        assert page.evaluate(f"{at} === report.facts.faults[0]"), moment


def test_a_fault_in_the_list_zooms_to_its_window(bad_run: Path, visit: Open) -> None:
    page = visit(bad_run)
    page.locator(".jump-time").nth(1).click()
    until(
        page,
        "(f => report.view.min < f.begins && report.view.max > f.heals && report.view.max - report.view.min < 4 * (f.heals - f.begins))(report.facts.faults[1])",
    )
    assert span(page) < page.evaluate("report.view.full[1]")


def test_calls_in_the_page_are_those_of_the_history(bad_run: Path, visit: Open) -> None:
    page = visit(bad_run)
    with (bad_run / "history.jsonl").open("rb") as lines:
        ops = [op for op in read_lines(lines, name="history.jsonl") if isinstance(op.process, int)]
    done = [op for op in ops if op.type != "invoke"]
    seen = page.evaluate(
        """() => [...report.calls.completed].map((index, i) => [index, report.calls.end[i],
            report.facts.calls.processes[report.calls.process[i]], report.facts.calls.kinds[report.calls.kind[i]],
            report.facts.calls.outcomes[report.calls.outcome[i]]])"""
    )
    by_index = {row[0]: row[1:] for row in seen if row[0] >= 0}
    assert len(by_index) == len(done)
    for op in done:
        end, process, kind, outcome = by_index[op.index]
        assert (process, kind, outcome) == (op.process, op.f, op.type), msgspec.to_builtins(op)
        assert end == pytest.approx(op.time / 1e9, abs=2e-6)


def test_foreign_values_never_become_markup(hostile_run: Path, visit: Open) -> None:
    page = visit(hostile_run)
    page.locator(".card .jump.primary").first.click()
    settled(page)
    assert page.locator("img").count() == 0
    assert "owned" not in page.title()
    assert "onerror" in page.locator("main").inner_text()


def test_dark_and_light_follow_the_reader_and_the_button(bad_run: Path, visit: Open) -> None:
    page = visit(bad_run, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.locator("#theme").click()
    assert page.evaluate(ground) != dark
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


def test_paper_is_light_and_what_is_folded_is_open_on_it(bad_run: Path, visit: Open) -> None:
    page = visit(bad_run, color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert page.locator("details:not([open]):not(.more)").count() == 0
    assert page.evaluate("report.view.width") <= 690
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.locator("details:not([open]):not(.more)").count() > 0


def test_a_browser_that_cannot_unpack_says_so(bad_run: Path, browser: Browser) -> None:
    context = browser.new_context()
    context.add_init_script("delete window.DecompressionStream")
    page = context.new_page()
    page.goto((bad_run / "report.html").as_uri())
    page.wait_for_selector("#no-charts:not([hidden])")
    assert "DecompressionStream" in page.locator("#no-charts").inner_text()
    assert page.locator(".card").count() > 0
    context.close()


def test_a_narrow_window_scrolls_only_downwards(bad_run: Path, visit: Open) -> None:
    page = visit(bad_run)
    for width in (1280, 900, 420):
        page.set_viewport_size({"width": width, "height": 900})
        until(page, "Math.abs(report.view.width - document.getElementById('stack').clientWidth) < 2")
        settled(page)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width


def test_what_an_event_says_is_no_column_of_single_letters_on_a_phone(tmp_path: Path, visit: Open) -> None:
    detail = "the leader of epoch 4 ends at 21; 33 was committed"
    value = {
        "name": "LeaderCompletenessProperty",
        "node": "n2",
        "key": "t0/0",
        "time_ns": 7,
        "step": 8,
        "detail": detail,
    }
    ops = [
        {"process": "harness", "type": "info", "f": "phase", "value": "main"},
        {"process": "harness", "type": "info", "f": "invariant", "value": value},
    ]
    history = tmp_path / "history.jsonl"
    history.write_text("".join(json.dumps(op | {"time": time}) + "\n" for time, op in enumerate(ops)))
    write_page(history, tmp_path / "report.html", judge(history), workload="kafka")
    page = visit(tmp_path)
    page.set_viewport_size({"width": 390, "height": 900})
    heights = page.evaluate("[...document.querySelectorAll('.ops tbody tr')].map(row => row.offsetHeight)")
    assert heights
    assert max(heights) < 300


def test_a_hundred_thousand_operations_are_all_there_and_move(long_run: Path, visit: Open) -> None:
    page = visit(long_run)
    assert page.evaluate("report.calls.count") == 100_000
    page.locator(".card .jump.primary").first.click()
    settled(page)
    assert page.evaluate("report.timeline.marked.length") == 2
    assert span(page) < 60
    page.locator("[data-zoom=all]").click()
    settled(page)
    assert inked(page, "timeline") > 50_000
