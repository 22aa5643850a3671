"use strict";
/* Wires the page together: data, drawings, filters, jumps, keyboard, theme, print. Everything that comes from the run
   reaches the document as text only. */

(function () {
  const $ = (id) => document.getElementById(id);
  const KEEP = "kafka-harness-theme";

  /* theme */
  function stored() { try { return localStorage.getItem(KEEP); } catch { return null; } }
  function applyTheme(name) {
    document.documentElement.dataset.theme = name;
    readTheme();
  }
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => stored() || (prefersDark.matches ? "dark" : "light");
  applyTheme(chosen());
  prefersDark.addEventListener("change", () => { applyTheme(chosen()); app.redraw(); });
  $("theme").addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem(KEEP, next); } catch { /* a page from disk may not be allowed to store: it stays for this visit */ }
    applyTheme(next);
    app.redraw();
  });

  /* copy the command */
  const copy = $("copy");
  if (copy) copy.addEventListener("click", async () => {
    const text = $(copy.dataset.copies).textContent;
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren($(copy.dataset.copies));
      copy.textContent = "Selected";
    }
    setTimeout(() => { copy.textContent = "Copy"; }, 2000);
  });

  const app = { ready: false, redraw() {} };
  window.report = app;

  function start({ calls, facts }) {
    const view = new TimeView(facts.end);
    const stack = $("stack");
    const ruler = new Ruler($("ruler"), view, facts);
    const timeline = new Timeline($("viewport"), $("spacer"), $("timeline"), view, calls, facts);
    const pointed = (i) => { choose(i); $("operations").scrollIntoView({ block: "nearest" }); };
    const charts = new Charts($("charts"), view, calls, facts, pointed);
    const leaders = new Leaders($("leaders-figure"), view, facts);
    Object.assign(app, { view, calls, facts, timeline, charts, leaders, ruler });

    /* size */
    const measure = () => {
      const width = Math.floor(stack.clientWidth);
      if (width > 0 && width !== view.width) { view.width = width; view.queue(); }
    };
    new ResizeObserver(measure).observe(stack);
    measure();
    app.redraw = () => view.flush();

    $("operations").style.scrollMarginTop = 48 + ruler.height() + "px";

    /* zoom buttons and the range */
    const all = () => { timeline.marked = []; view.all(); };
    for (const button of document.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", () => ({ in: () => view.zoom(0.5), out: () => view.zoom(2), all })[button.dataset.zoom]());
    }
    view.listen(() => {
      const step = tickStep(view.max - view.min, 10) / 10;
      $("range").textContent = `${seconds(view.min, step)} to ${seconds(view.max, step)}`;
    });
    for (const link of document.querySelectorAll(".jump-time")) {
      link.addEventListener("click", () => {
        view.set(Number(link.dataset.from), Number(link.dataset.to));
        $("time").scrollIntoView();
      });
    }

    /* filters */
    const boxes = { outcome: new Map(), kind: new Map() };
    function chip(group, holder, name, value, picture) {
      const box = element("input", { type: "checkbox", name: group, value: name, checked: "" });
      boxes[group].set(value, box);
      holder.append(element("label", {}, box, ...(picture ? [picture] : []), name === "pending" ? "no answer" : name));
    }
    const present = new Set(calls.outcome);
    facts.calls.outcomes.forEach((name, value) => { if (present.has(value)) chip("outcome", $("filter-outcome"), name, value, swatch(name)); });
    facts.calls.kinds.forEach((name, value) => chip("kind", $("filter-kind"), name, value, null));
    const byName = facts.calls.keys.map((name, value) => [name, value]).sort((a, b) => a[0].localeCompare(b[0], "en", { numeric: true }));
    for (const [name, value] of byName) $("filter-key").append(element("option", { value }, name));

    /** "3, 7-9" as a test, null for all, undefined for what can't be read. */
    function processes(text) {
      if (!text.trim()) return null;
      const ranges = [];
      for (const part of text.split(",")) {
        const match = /^\s*(\d+)\s*(?:-\s*(\d+)\s*)?$/.exec(part);
        if (!match) return undefined;
        ranges.push([Number(match[1]), Number(match[2] ?? match[1])]);
      }
      return (number) => ranges.some(([from, to]) => from <= number && number <= to);
    }
    function applyFilters() {
      const typed = processes($("filter-process").value);
      $("filter-process").setAttribute("aria-invalid", String(typed === undefined));
      if (typed === undefined) return;
      const on = (group) => new Set([...boxes[group]].filter(([, box]) => box.checked).map(([value]) => value));
      const key = $("filter-key").value;
      timeline.filter({ outcomes: on("outcome"), kinds: on("kind"), processes: typed, key: key === "" ? null : Number(key) });
      const left = facts.calls.recorded - calls.count;
      $("matches").textContent = `${grouped(timeline.matching)} of ${grouped(calls.count)} operations`
        + (left ? ` (${grouped(left)} ok operations of ${grouped(facts.calls.recorded)} not drawn)` : "");
    }
    $("filters").addEventListener("input", applyFilters);
    $("filters").addEventListener("submit", (event) => event.preventDefault());
    $("filters").addEventListener("reset", () => setTimeout(applyFilters));
    applyFilters();

    /* the chosen operation; `matters` holds the places ("t0/1@17") of the anomaly that was jumped to */
    let matters = new Set();
    function describe(i) {
      const outcome = facts.calls.outcomes[calls.outcome[i]];
      const [kind, keys] = timeline.words(i);
      const index = calls.completed[i] >= 0 ? calls.completed[i] : calls.invoked[i];
      const took = outcome === "pending" ? "no answer recorded" : `took ${duration(calls.length[i])}`;
      const error = calls.error[i] ? facts.calls.errors[calls.error[i] - 1] : "";
      return { outcome, kind, keys, index, took, error, process: facts.calls.processes[calls.process[i]] };
    }
    function choose(i) {
      timeline.select(i);
      const detail = $("detail");
      detail.replaceChildren();
      if (i < 0) return;
      const d = describe(i);
      const head = element("div", { class: "head" },
        element("b", {}, `#${d.index}`), element("span", {}, `process ${d.process}`), element("span", {}, d.kind),
        element("span", { class: `outcome ${d.outcome}` }, d.outcome === "pending" ? "no answer" : d.outcome, d.error ? ` · ${d.error}` : ""),
        element("span", {}, `began at ${seconds(calls.start[i], 1e-6)}, ${d.took}`));
      detail.append(head);
      const effects = facts.values[d.index];
      if (effects) {
        const list = element("ul");
        for (const [verb, key, pieces] of effects) {
          const texts = pieces.map((text) => (matters.has(key + text.split(" ", 1)[0]) ? element("mark", {}, text) : text));
          list.append(element("li", {}, [verb, key, ""].filter((part, n) => part || n === 2).join(" "), ...texts));
        }
        detail.append(list);
      } else {
        const line = calls.completed[i] >= 0 ? `lines ${grouped(calls.invoked[i] + 1)} and ${grouped(d.index + 1)}` : `line ${grouped(d.index + 1)}`;
        detail.append(element("p", {}, (d.keys.length ? `Partitions: ${d.keys.join(", ")}. ` : "") + `Values are kept around anomalies only; this one is in history.jsonl, ${line}.`));
      }
    }

    /* jumps from the anomalies */
    function showing(label, found) {
      const box = $("shown");
      box.hidden = !found.length;
      if (!found.length) return;
      const clear = element("button", { type: "button" }, "Clear");
      clear.addEventListener("click", unmark);
      box.replaceChildren(`${label || "Chosen"}: ${found.length} ${found.length === 1 ? "operation" : "operations"} marked`, clear);
    }
    function unmark() {
      timeline.marked = [];
      matters = new Set();
      showing("", []);
      choose(-1);
      view.queue();
    }
    function jump(indexes, label, places) {
      matters = new Set(places);
      const found = timeline.find(indexes);
      if (found.some((i) => !timeline.visible[i])) { $("filters").reset(); applyFilters(); }
      timeline.show(found);
      choose(found.length ? found[0] : -1);
      showing(label, found);
      $("operations").scrollIntoView({ block: "start" });
      $("viewport").focus({ preventScroll: true });
    }
    for (const link of document.querySelectorAll(".jump")) {
      link.addEventListener("click", () => jump(link.dataset.ops.split(",").map(Number), link.dataset.label || `Operation #${link.dataset.ops}`, JSON.parse(link.closest(".example")?.dataset.places || "[]")));
    }

    pointer({ view, stack, ruler, timeline, charts, leaders, facts, describe, choose, unmark });
    keyboard({ view, timeline, choose, unmark, all });
    printing(view, stack);
    view.flush();
    app.ready = true;
    document.documentElement.dataset.ready = "true";
  }

  /* hairline, tooltips, dragging, wheel */
  function pointer({ view, stack, ruler, timeline, charts, leaders, facts, describe, choose, unmark }) {
    const hair = $("hair"), tip = $("tip"), viewport = $("viewport");
    let drag = null;

    function say(lines, event) {
      tip.hidden = !lines;
      if (!lines) return;
      tip.replaceChildren(...lines.map((line, n) => element("div", {}, n ? line : element("b", {}, line))));
      const box = stack.getBoundingClientRect();
      const x = event.clientX - box.left, y = event.clientY - box.top;
      tip.style.left = Math.max(4, Math.min(x + 14, box.width - tip.offsetWidth - 6)) + "px";
      tip.style.top = (event.clientY + tip.offsetHeight + 26 > innerHeight ? y - tip.offsetHeight - 12 : y + 18) + "px";
    }
    function aboutCall(i) {
      const d = describe(i);
      return [`${d.kind} #${d.index} · ${d.outcome === "pending" ? "no answer" : d.outcome}`, `process ${d.process}, ${d.keys.join(", ") || "no partition"}`,
        `${seconds(timeline.calls.start[i], 1e-4)}, ${d.took}`, ...(d.error ? [d.error] : [])];
    }
    function about(event) {
      const inside = (canvas) => {
        const box = canvas.getBoundingClientRect();
        const x = event.clientX - box.left, y = event.clientY - box.top;
        return x >= 0 && y >= 0 && x < box.width && y < box.height ? [x, y] : null;
      };
      if (event.target === timeline.canvas) {
        const i = timeline.hit(...inside(timeline.canvas));
        return i >= 0 ? aboutCall(i) : null;
      }
      if (event.target === ruler.canvas) {
        const fault = ruler.hit(...inside(ruler.canvas));
        if (!fault) return null;
        const bit = fault.bit === null ? "" : fault.bit ? "it bit" : "it missed";
        return [fault.name, [fault.nodes.join(", "), fault.keys.join(", ")].filter(Boolean).join(" · "),
          `begun at ${seconds(fault.aimed)}, held ${seconds(fault.begins)} to ${seconds(fault.heals)}, healed at ${seconds(fault.healed)}`, bit].filter(Boolean);
      }
      if (event.target === leaders.canvas) {
        const seen = leaders.hit(...inside(leaders.canvas));
        return seen ? [`${seen.key}: ${seen.name}`, [seen.epoch === null ? "" : `epoch ${seen.epoch}`, seen.isr === null ? "" : `ISR ${seen.isr}`].filter(Boolean).join(", "),
          `${seconds(seen.from)} to ${seconds(seen.to)}`].filter(Boolean) : null;
      }
      const plot = charts.plots.find((one) => one.kindOf === "latency" && one.chart.over === event.target);
      if (plot) {
        const at = inside(plot.chart.over), i = charts.nearest(plot, ...at);
        return i >= 0 ? aboutCall(i) : null;
      }
      return null;
    }

    stack.addEventListener("pointermove", (event) => {
      const x = event.clientX - stack.getBoundingClientRect().left;
      const inPlot = x >= GUTTER && x <= view.width - RIGHT;
      hair.hidden = !inPlot;
      hair.style.left = x + "px";
      charts.readAt(inPlot ? view.time(x) : null);
      if (!drag) say(about(event), event);
    });
    stack.addEventListener("pointerleave", () => { hair.hidden = true; say(null); charts.readAt(null); });

    viewport.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.target !== timeline.canvas) return;
      drag = { x: event.clientX, y: event.clientY, min: view.min, max: view.max, top: viewport.scrollTop, moved: false };
      viewport.setPointerCapture(event.pointerId);
      say(null);
    });
    viewport.addEventListener("pointermove", (event) => {
      if (!drag) return;
      const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
      drag.moved ||= Math.abs(dx) + Math.abs(dy) > 4;
      if (!drag.moved) return;
      viewport.scrollTop = drag.top - dy;
      view.set(drag.min - dx / view.scale(), drag.max - dx / view.scale());
    });
    viewport.addEventListener("pointerup", (event) => {
      const moved = drag && drag.moved;
      drag = null;
      if (moved) return;
      const box = timeline.canvas.getBoundingClientRect();
      const i = timeline.hit(event.clientX - box.left, event.clientY - box.top);
      if (i >= 0) choose(i); else unmark();
    });
    viewport.addEventListener("pointercancel", () => { drag = null; });
    viewport.addEventListener("dblclick", (event) => {
      view.zoom(0.25, view.time(event.clientX - stack.getBoundingClientRect().left));
    });
    stack.addEventListener("wheel", (event) => {
      const onTimeline = viewport.contains(event.target);
      const x = event.clientX - stack.getBoundingClientRect().left;
      const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
      if (event.ctrlKey || event.metaKey || (onTimeline && document.activeElement === viewport && !event.shiftKey && Math.abs(event.deltaY) >= Math.abs(event.deltaX))) {
        event.preventDefault();
        view.zoom(Math.pow(1.0016, event.deltaY * (event.deltaMode ? 20 : 1)), view.time(x));
      } else if (Math.abs(sideways) > (event.shiftKey ? 0 : Math.abs(event.deltaY))) {
        event.preventDefault();
        view.pan(sideways / Math.max(view.width, 1));
      }
    }, { passive: false });
  }

  function keyboard({ view, timeline, choose, unmark, all }) {
    const notOk = (i) => timeline.outcomes[timeline.calls.outcome[i]] !== "ok";
    const to = (i) => { if (i >= 0) { timeline.marked = []; choose(i); } };
    const acts = {
      ArrowLeft: () => view.pan(-0.15), ArrowRight: () => view.pan(0.15),
      ArrowUp: () => { timeline.viewport.scrollTop -= 3 * timeline.rowHeight; },
      ArrowDown: () => { timeline.viewport.scrollTop += 3 * timeline.rowHeight; },
      "+": () => view.zoom(0.5), "=": () => view.zoom(0.5), "-": () => view.zoom(2), "0": all, Home: all,
      n: () => to(timeline.step(1)), p: () => to(timeline.step(-1)), i: () => to(timeline.step(1, notOk)),
      Enter: () => { if (timeline.selected >= 0) timeline.show([timeline.selected]); },
      Escape: unmark,
    };
    timeline.viewport.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const act = acts[event.key] || acts[event.key.toLowerCase()];
      if (!act) return;
      event.preventDefault();
      act();
    });
  }

  /* paper is light and narrow, and nothing on it can be opened: folds are, but for the further examples of an anomaly */
  function printing(view, stack) {
    let before = null;
    addEventListener("beforeprint", () => {
      before = { theme: document.documentElement.dataset.theme, width: view.width };
      for (const fold of document.querySelectorAll("details:not([open]):not(.more)")) { fold.open = true; fold.dataset.folded = "true"; }
      applyTheme("light");
      view.width = Math.min(view.width, 690);
      view.flush();
    });
    addEventListener("afterprint", () => {
      if (!before) return;
      for (const fold of document.querySelectorAll("details[data-folded]")) { fold.open = false; delete fold.dataset.folded; }
      applyTheme(before.theme);
      view.width = Math.floor(stack.clientWidth) || before.width;
      view.flush();
      before = null;
    });
  }

  if (!$("time")) {  // nothing was recorded: there is no time to draw
    document.documentElement.dataset.ready = "true";
    return;
  }
  if (typeof DecompressionStream === "undefined") {
    const note = $("no-charts");
    note.hidden = false;
    note.textContent = "This browser can't unpack the data in this page (it lacks DecompressionStream), so the charts are missing. Everything else is complete.";
    $("stack").hidden = true;
    return;
  }
  Data.load().then(start, (error) => {
    const note = $("no-charts");
    note.hidden = false;
    note.textContent = `The data in this page can't be read: ${error}`;
    throw error;
  });
})();
