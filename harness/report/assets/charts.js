"use strict";
/* Latency (one chart per kind of operation) and throughput, on uPlot. Quantiles and rates are counted from the calls
   for the visible stretch, so zooming in makes the buckets finer; while the view moves the old lines move along, and
   are counted anew when it rests. Points are sampled: all that are not ok (up to a bound), and an even share of ok. */

const BUCKETS = 120;
const OK_POINTS = 2500;
const OTHER_POINTS = 2500;
const MAX_LATENCY_CHARTS = 4;
const SETTLE_MS = 90;
const QUANTILES = [0.5, 0.95, 0.99];
const LATENCY_HEIGHT = 170;
const RATE_HEIGHT = 140;

class Charts {
  constructor(holder, view, calls, facts, onPoint) {
    this.holder = holder;
    this.view = view;
    this.calls = calls;
    this.facts = facts;
    this.onPoint = onPoint;
    this.ids = Object.fromEntries(facts.calls.outcomes.map((name, i) => [name, i]));
    this.plots = [];
    this.timer = 0;
    this.counted = [NaN, NaN];
    this.byKind = this.split();
    for (const kind of this.kindsShown()) this.addLatency(kind);
    this.addRate();
    view.listen(() => this.draw());
  }

  /** Positions of the calls of each kind, in order of start. */
  split() {
    const sizes = new Uint32Array(this.facts.calls.kinds.length);
    for (const kind of this.calls.kind) sizes[kind]++;
    const lists = Array.from(sizes, (size) => new Uint32Array(size));
    sizes.fill(0);
    for (let i = 0; i < this.calls.count; i++) {
      const kind = this.calls.kind[i];
      lists[kind][sizes[kind]++] = i;
    }
    return lists;
  }

  kindsShown() {
    const order = this.byKind.map((list, kind) => [list.length, kind]).sort((a, b) => b[0] - a[0]);
    const control = new Set(["assign", "subscribe", "crash"]);
    const carries = order.filter(([count, kind]) => count > 0 && !control.has(this.facts.calls.kinds[kind]));
    return (carries.length ? carries : order).slice(0, MAX_LATENCY_CHARTS).map(([, kind]) => kind);
  }

  figure(title, legend) {
    const read = element("span", { class: "read" });
    const figure = element("figure", { class: "chart" },
      element("figcaption", {}, element("b", {}, title), legend, read), element("div"));
    this.holder.append(figure);
    return { body: figure.lastChild, read };
  }

  lineLegend(entries) {
    const legend = element("span", { class: "legend" });
    for (const [name, dash] of entries) {
      const svg = document.createElementNS(SVG, "svg");
      svg.setAttribute("viewBox", "0 0 16 12");
      const line = document.createElementNS(SVG, "path");
      line.setAttribute("d", "M0 6H16");
      line.setAttribute("style", `stroke:var(--ink);stroke-width:1.6;stroke-dasharray:${dash}`);
      svg.append(line);
      legend.append(element("span", {}, svg, name));
    }
    return legend;
  }

  base(height, log) {
    const grid = { stroke: () => theme.line, width: 1 };
    return {
      width: Math.max(320, this.view.width), height,
      padding: [8, RIGHT, 6, 0],
      legend: { show: false },
      cursor: { x: false, y: false, points: { show: false }, drag: { x: true, y: false, setScale: false } },
      scales: { x: { time: false, range: () => [this.view.min, this.view.max] }, y: log ? { distr: 3 } : {} },
      axes: [
        { show: true, size: 0, values: () => [], ticks: { show: false }, grid },
        { size: GUTTER, stroke: () => theme.faint, ticks: { show: false }, grid, gap: 8, font: `12px ${theme.font}` },
      ],
      hooks: {
        drawClear: [(plot) => this.shade(plot)],
        setSelect: [(plot) => this.selected(plot)],
      },
    };
  }

  shade(plot) {
    const c = plot.ctx, ratio = uPlot.pxRatio;
    c.save();
    c.scale(ratio, ratio);
    Ruler.shade(c, this.view, this.facts.faults, plot.bbox.top / ratio, plot.bbox.height / ratio);
    c.restore();
  }

  selected(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    const from = this.view.time(GUTTER + left), to = this.view.time(GUTTER + left + width);
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.view.set(from, to);
  }

  addLatency(kind) {
    const name = this.facts.calls.kinds[kind];
    const legend = this.lineLegend([["median", "none"], ["95 %", "5 3"], ["99 %", "1.5 2.5"]]);
    for (const outcome of ["ok", "info", "fail"]) legend.append(element("span", {}, Charts.dot(outcome), outcome));
    const { body, read } = this.figure(`Latency of ${name}`, legend);
    const options = this.base(LATENCY_HEIGHT, true);
    const longest = this.longest(kind);
    options.scales.y.range = () => [longest[0], longest[1]];
    options.axes[1].values = (_, splits) => splits.map((value) => Charts.decade(value) ? duration(value / 1e3) : null);
    options.axes[1].filter = (_, splits) => splits.map((value) => (Charts.decade(value) ? value : null));
    options.axes[1].grid = { stroke: () => theme.line, width: 1, filter: (_, splits) => splits.map((v) => (Charts.decade(v) ? v : null)) };
    const line = (dash) => ({ stroke: () => theme.ink, width: 1.3, dash, spanGaps: false, points: { show: false } });
    options.series = [{}, line([]), line([5, 3]), line([1.5, 2.5])];
    const plot = { kind, read, sample: [], kindOf: "latency" };
    options.hooks.drawAxes = [(u) => this.points(u, plot)];
    plot.chart = new uPlot(options, [[0], [null], [null], [null]], body);
    plot.chart.over.addEventListener("click", (event) => this.pick(plot, event));
    this.plots.push(plot);
  }

  static decade(value) { const power = Math.log10(value); return Math.abs(power - Math.round(power)) < 1e-6; }

  static dot(outcome) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 16 12");
    const shape = document.createElementNS(SVG, "path");
    const path = { ok: "M8 4a2 2 0 1 0 0.01 0z", info: "M8 2.4L12 9.6H4z", fail: "M5 3l6 6M11 3l-6 6" }[outcome];
    shape.setAttribute("d", path);
    shape.setAttribute("style", outcome === "fail" ? "fill:none;stroke:var(--fail-edge);stroke-width:1.8" : `fill:var(--${outcome})`);
    svg.append(shape);
    return svg;
  }

  /** The chart's bounds in ms: decades around what there is. */
  longest(kind) {
    let low = Infinity, high = 0;
    for (const i of this.byKind[kind]) {
      const ms = this.calls.length[i] * 1e3;
      if (ms > high) high = ms;
      if (ms > 0 && ms < low) low = ms;
    }
    if (!(high > 0)) return [0.1, 100];
    low = Math.pow(10, Math.floor(Math.log10(Math.max(low, high / 1e6))));
    return [low, Math.max(low * 10, Math.pow(10, Math.ceil(Math.log10(high * 1.02))))];
  }

  /** The calls of this list that start inside the view. */
  visible(list) {
    const from = this.bound(list, this.view.min), to = this.bound(list, this.view.max);
    return [Math.max(0, from - 1), Math.min(list.length, to + 1)];
  }
  bound(list, time) {
    let from = 0, to = list.length;
    while (from < to) {
      const middle = (from + to) >> 1;
      if (this.calls.start[list[middle]] < time) from = middle + 1; else to = middle;
    }
    return from;
  }

  sample(plot) {
    const list = this.byKind[plot.kind];
    const [from, to] = this.visible(list);
    const ok = [], other = [];
    for (let j = from; j < to; j++) (this.calls.outcome[list[j]] === this.ids.ok ? ok : other).push(list[j]);
    const thin = (all, room) => {
      if (all.length <= room) return all;
      const step = all.length / room;
      return Array.from({ length: room }, (_, k) => all[Math.floor(k * step)]);
    };
    plot.sample = [...thin(ok, OK_POINTS), ...thin(other, OTHER_POINTS)];
  }

  points(u, plot) {
    const c = u.ctx, ratio = uPlot.pxRatio, { calls, ids } = this;
    c.save();
    c.beginPath();
    c.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    c.clip();
    for (const i of plot.sample) {
      const outcome = calls.outcome[i];
      const x = u.valToPos(calls.start[i], "x", true);
      const y = u.valToPos(Math.max(calls.length[i] * 1e3, 1e-6), "y", true);
      if (outcome === ids.ok) {
        c.globalAlpha = 0.6;
        c.fillStyle = theme.ok;
        c.fillRect(x - 1.3 * ratio, y - 1.3 * ratio, 2.6 * ratio, 2.6 * ratio);
      } else if (outcome === ids.fail) {
        c.globalAlpha = 1;
        c.strokeStyle = theme["fail-edge"];
        c.lineWidth = 1.5 * ratio;
        c.beginPath();
        c.moveTo(x - 2.6 * ratio, y - 2.6 * ratio); c.lineTo(x + 2.6 * ratio, y + 2.6 * ratio);
        c.moveTo(x + 2.6 * ratio, y - 2.6 * ratio); c.lineTo(x - 2.6 * ratio, y + 2.6 * ratio);
        c.stroke();
      } else {
        c.globalAlpha = 1;
        c.fillStyle = theme.info;
        c.strokeStyle = theme["info-edge"];
        c.lineWidth = ratio * 0.8;
        c.beginPath();
        c.moveTo(x, y - 3.4 * ratio); c.lineTo(x + 3.4 * ratio, y + 2.6 * ratio); c.lineTo(x - 3.4 * ratio, y + 2.6 * ratio);
        c.closePath();
        c.fill();
        c.stroke();
      }
    }
    c.restore();
  }

  /** The call whose point is nearest, within a few pixels; -1 for none. */
  nearest(plot, x, y) {
    let best = -1, least = 64;
    for (const i of plot.sample) {
      const dx = plot.chart.valToPos(this.calls.start[i], "x") - x;
      const dy = plot.chart.valToPos(Math.max(this.calls.length[i] * 1e3, 1e-6), "y") - y;
      const far = dx * dx + dy * dy;
      if (far < least) { least = far; best = i; }
    }
    return best;
  }

  pick(plot, event) {
    const box = plot.chart.over.getBoundingClientRect();
    const found = this.nearest(plot, event.clientX - box.left, event.clientY - box.top);
    if (found >= 0) this.onPoint(found);
  }

  addRate() {
    const legend = element("span", { class: "legend" });
    for (const outcome of ["ok", "info", "fail"]) legend.append(element("span", {}, swatch(outcome), outcome));
    const { body, read } = this.figure("Throughput", legend);
    const options = this.base(RATE_HEIGHT, false);
    options.scales.y.range = (_, __, high) => [0, Math.max(1, (high || 1) * 1.12)];
    options.axes[1].values = (_, splits) => splits.map((value) => `${grouped(value)}/s`);
    options.axes[1].space = 32;
    const area = (name, alpha, width, paths) => ({
      stroke: () => theme[name + "-edge"], fill: () => Charts.faded(theme[name], alpha), width, paths, points: { show: false },
    });
    const stepped = uPlot.paths.stepped({ align: 1 });
    const bars = (share) => uPlot.paths.bars({ size: [share, 60, 2], align: 1 });
    options.series = [{}, area("ok", 0.3, 1.2, stepped), area("info", 0.85, 1, bars(0.86)), area("fail", 0.85, 1, bars(0.5))];
    this.plots.push({ kindOf: "rate", read, chart: new uPlot(options, [[0], [0], [0], [0]], body) });
  }

  static faded(colour, alpha) {
    const number = parseInt(colour.slice(1), 16);
    return `rgba(${number >> 16}, ${(number >> 8) & 255}, ${number & 255}, ${alpha})`;
  }

  /** Rate of completions per second and outcome, in buckets of the view. */
  rates() {
    const { calls, view, ids } = this;
    const step = tickStep(view.max - view.min, BUCKETS), first = Math.floor(view.min / step);
    const count = Math.floor(view.max / step) - first + 2;
    const times = new Float64Array(count);
    const out = { ok: new Float64Array(count), info: new Float64Array(count), fail: new Float64Array(count) };
    for (let b = 0; b < count; b++) times[b] = (first + b) * step;
    for (let i = 0; i < calls.count; i++) {
      const bucket = Math.floor(calls.end[i] / step) - first;
      if (bucket < 0 || bucket >= count) continue;
      const outcome = calls.outcome[i];
      if (outcome === ids.ok) out.ok[bucket] += 1 / step;
      else if (outcome === ids.info) out.info[bucket] += 1 / step;
      else if (outcome === ids.fail) out.fail[bucket] += 1 / step;
    }
    const gaps = (counts) => Array.from(counts, (count) => count || null);
    return { step, data: [times, out.ok, gaps(out.info), gaps(out.fail)] };
  }

  /** Quantiles of the latency of ok calls, in ms, in buckets of the view; null where nothing was ok. */
  quantiles(kind) {
    const { calls, view, ids } = this;
    const step = tickStep(view.max - view.min, BUCKETS / 2), first = Math.floor(view.min / step);
    const count = Math.floor(view.max / step) - first + 1;
    const lists = Array.from({ length: count }, () => []);
    const list = this.byKind[kind];
    for (let j = this.bound(list, first * step); j < list.length && calls.start[list[j]] < (first + count) * step; j++) {
      const i = list[j];
      if (calls.outcome[i] === ids.ok) lists[Math.floor(calls.start[i] / step) - first].push(calls.length[i] * 1e3);
    }
    const data = [new Float64Array(count), ...QUANTILES.map(() => new Array(count).fill(null))];
    lists.forEach((values, b) => {
      data[0][b] = (first + b + 0.5) * step;
      if (!values.length) return;
      const sorted = Float64Array.from(values).sort();
      QUANTILES.forEach((q, s) => { data[s + 1][b] = Math.max(sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))], 1e-6); });
    });
    return { step, data };
  }

  count() {
    this.counted = [this.view.min, this.view.max];
    for (const plot of this.plots) {
      const found = plot.kindOf === "rate" ? this.rates() : this.quantiles(plot.kind);
      if (plot.kindOf === "latency") this.sample(plot);
      plot.step = found.step;
      plot.chart.setData(found.data, true);
    }
  }

  draw() {
    const fresh = this.counted[0] === this.view.min && this.counted[1] === this.view.max;
    if (Number.isNaN(this.counted[0])) this.count();
    else if (!fresh) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.count(), SETTLE_MS);
    }
    for (const plot of this.plots) {
      if (plot.chart.width !== this.view.width) plot.chart.setSize({ width: this.view.width, height: plot.chart.height });
      else plot.chart.redraw(false, true);
      plot.chart.setScale("x", { min: this.view.min, max: this.view.max });
    }
  }

  /** Write what every chart shows at a time (null: nothing) into its caption. */
  readAt(time) {
    for (const plot of this.plots) {
      const [times, ...rows] = plot.chart.data;
      let text = "";
      if (time !== null && plot.step) {
        const lead = plot.kindOf === "rate" ? 0 : plot.step / 2;
        const at = Math.floor((time - times[0] + lead) / plot.step + 1e-9);
        if (at >= 0 && at < times.length && rows[0][at] !== null && rows[0][at] !== undefined) {
          text = plot.kindOf === "rate"
            ? ["ok", "info", "fail"].map((name, s) => `${name} ${Number((rows[s][at] ?? 0).toFixed(1))}/s`).join("   ")
            : QUANTILES.map((q, s) => `${q * 100} % ${duration(rows[s][at] / 1e3)}`).join("   ");
        }
      }
      plot.read.textContent = text;
    }
  }
}
