"use strict";
/* What all drawings share: the visible stretch of time, the colours of the theme, sharp canvases, words for times.
   One TimeView is the single truth about zoom; drawings subscribe and are called once per frame at most. */

const GUTTER = 92;
const RIGHT = 18;
const SHORTEST_S = 50e-6;

class TimeView {
  constructor(end) {
    this.full = [0, Math.max(end, 0.001)];
    this.min = this.full[0];
    this.max = this.full[1];
    this.width = 0;
    this.listeners = [];
    this.queued = false;
  }

  listen(draw) { this.listeners.push(draw); }

  set(min, max) {
    const span = Math.min(Math.max(max - min, SHORTEST_S), this.full[1] - this.full[0]);
    const middle = (min + max) / 2;
    let from = Math.abs(max - min - span) < 1e-12 ? min : middle - span / 2;
    from = Math.min(Math.max(from, this.full[0]), this.full[1] - span);
    this.min = from;
    this.max = from + span;
    this.queue();
  }

  all() { this.set(this.full[0], this.full[1]); }
  zoom(factor, at = (this.min + this.max) / 2) {
    this.set(at - (at - this.min) * factor, at + (this.max - at) * factor);
  }
  pan(share) {
    const step = (this.max - this.min) * share;
    this.set(this.min + step, this.max + step);
  }

  /** Pixels of the plot between gutter and right edge, per second. */
  scale() { return (this.width - GUTTER - RIGHT) / (this.max - this.min); }
  x(time) { return GUTTER + (time - this.min) * this.scale(); }
  time(x) { return this.min + (x - GUTTER) / this.scale(); }

  queue() {
    if (this.queued) return;
    this.queued = true;
    requestAnimationFrame(() => this.flush());
  }
  flush() {
    this.queued = false;
    for (const draw of this.listeners) draw();
  }
}

/* Colours come from the style sheet, so that there is one palette. */
const theme = {};
function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const get = (name) => style.getPropertyValue(name).trim();
  for (const name of ["ground", "panel", "sunk", "line", "line-strong", "ink", "soft", "faint", "ok", "info", "fail",
    "ok-ink", "info-ink", "fail-ink", "ok-edge", "info-edge", "fail-edge", "band", "band-edge", "accent", "mark"]) {
    theme[name] = get("--" + name);
  }
  theme.nodes = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => get("--n" + i));
  theme.font = getComputedStyle(document.body).fontFamily;
  theme.hatch = {};
}

/** Return a canvas pattern of diagonal stripes; kept per context and colour. */
function hatch(context, colour, gap = 5, thickness = 1.4) {
  const name = colour + gap;
  if (theme.hatch[name]) return theme.hatch[name];
  const tile = document.createElement("canvas");
  const ratio = window.devicePixelRatio || 1;
  tile.width = tile.height = Math.round(gap * ratio);
  const draw = tile.getContext("2d");
  draw.strokeStyle = colour;
  draw.lineWidth = thickness * ratio;
  const side = tile.width;
  for (const shift of [-side, 0, side]) {
    draw.beginPath();
    draw.moveTo(shift - 1, side + 1);
    draw.lineTo(shift + side + 1, -1);
    draw.stroke();
  }
  const pattern = context.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix().scale(1 / ratio));
  return (theme.hatch[name] = pattern);
}

/** Give a canvas its size in CSS pixels, sharp on any screen, and return its cleared context. */
function fit(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const w = Math.round(width * ratio), h = Math.round(height * ratio);
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = width + "px";
    canvas.style.height = height + "px";
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

function font(context, size, weight = 400) { context.font = `${weight} ${size}px ${theme.font}`; }

/** Round steps of time for about `count` ticks over `span` seconds. */
function tickStep(span, count) {
  const raw = span / Math.max(1, count);
  const power = Math.pow(10, Math.floor(Math.log10(raw)));
  for (const factor of [1, 2, 5, 10]) if (raw <= factor * power) return factor * power;
  return 10 * power;
}

/** "12.345 s", with as many digits as the step between neighbours needs. */
function seconds(value, step = 0.001) {
  const digits = Math.min(6, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
  return value.toFixed(digits) + " s";
}
function duration(value) {
  if (value >= 1) return value.toFixed(value < 10 ? 2 : 1) + " s";
  if (value >= 1e-3) return (value * 1e3).toFixed(value < 1e-2 ? 1 : 0) + " ms";
  return (value * 1e6).toFixed(0) + " µs";
}
function grouped(count) { return count.toLocaleString("en-US"); }

/** Make an element with text (never markup: values are foreign data) and children. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** A small drawing of an outcome's mark, as in the timeline: shape and colour. */
const SVG = "http://www.w3.org/2000/svg";
function swatch(outcome) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 12");
  svg.setAttribute("aria-hidden", "true");
  const add = (name, attributes) => {
    const shape = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
    svg.append(shape);
  };
  if (outcome === "ok") add("rect", { x: 1, y: 2, width: 14, height: 8, rx: 1.5, style: "fill:var(--ok)" });
  if (outcome === "fail") add("rect", { x: 1, y: 7, width: 14, height: 4, rx: 1, style: "fill:var(--fail);stroke:var(--fail-edge);stroke-width:1" });
  if (outcome === "info" || outcome === "pending") {
    const dash = outcome === "pending" ? "2 1.5" : "none";
    add("rect", { x: 1.5, y: 0.8, width: 13, height: 10.4, rx: 1.5, style: `fill:none;stroke:var(--info-edge);stroke-dasharray:${dash}` });
    for (const x of [3, 7, 11]) add("path", { d: `M${x - 1} 10L${x + 3} 2`, style: "stroke:var(--info);stroke-width:1.8" });
  }
  return svg;
}
