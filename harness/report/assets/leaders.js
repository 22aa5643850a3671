"use strict";
/* Who led each partition: a line per partition, a block per leader, with the node's name, the epoch and the ISR in it
   where there is room. No leader is a hatched hole; a block whose ISR is smaller than the most members seen is pale
   with a dashed edge, so that a shrunken ISR is seen without reading. */

const LANE_HEIGHT = 22;
const LANES_AT_FIRST = 12;

class Leaders {
  constructor(figure, view, facts) {
    this.figure = figure;
    this.canvas = figure.querySelector("canvas");
    this.view = view;
    this.facts = facts;
    this.lanes = facts.leaders.lanes;
    this.nodes = facts.leaders.nodes;
    this.replicas = facts.leaders.replicas;
    this.shown = Math.min(this.lanes.length, LANES_AT_FIRST);
    figure.hidden = this.lanes.length === 0;
    if (figure.hidden) return;
    this.legend();
    const more = figure.querySelector("#leaders-all");
    more.hidden = this.lanes.length <= LANES_AT_FIRST;
    more.textContent = `Show all ${this.lanes.length} partitions`;
    more.addEventListener("click", () => {
      this.shown = this.lanes.length;
      more.hidden = true;
      this.draw();
    });
    view.listen(() => this.draw());
  }

  colour(node) { return theme.nodes[node % theme.nodes.length]; }

  legend() {
    const legend = this.figure.querySelector(".legend");
    const block = (style) => {
      const svg = document.createElementNS(SVG, "svg");
      svg.setAttribute("viewBox", "0 0 16 12");
      const rect = document.createElementNS(SVG, "rect");
      rect.setAttribute("style", style);
      for (const [k, v] of Object.entries({ x: 1, y: 1.5, width: 14, height: 9, rx: 2 })) rect.setAttribute(k, v);
      svg.append(rect);
      return svg;
    };
    this.nodes.forEach((name, i) => legend.append(element("span", {}, block(`fill:var(--n${i % 8});fill-opacity:.5;stroke:var(--n${i % 8})`), name)));
    legend.append(element("span", {}, block("fill:none;stroke:var(--fail-edge);stroke-width:2"), "nobody leads"));
    legend.append(element("span", {}, block("fill:var(--sunk);stroke:var(--soft);stroke-dasharray:2 1.5"), "a replica is out of the ISR"));
  }

  draw() {
    const { view } = this;
    const height = this.shown * LANE_HEIGHT + 6;
    const c = fit(this.canvas, view.width, height);
    Ruler.shade(c, view, this.facts.faults, 0, height);
    c.textBaseline = "middle";
    const right = view.width - RIGHT;
    for (let row = 0; row < this.shown; row++) {
      const { key, segments, isr } = this.lanes[row];
      const y = row * LANE_HEIGHT + 2;
      font(c, 12);
      c.fillStyle = theme.soft;
      c.fillText(this.fitted(c, key, GUTTER - 24), 16, y + LANE_HEIGHT / 2 - 1);
      c.save();
      c.beginPath();
      c.rect(GUTTER, y, right - GUTTER, LANE_HEIGHT);
      c.clip();
      segments.forEach((segment, i) => {
        const ends = i + 1 < segments.length ? segments[i + 1][0] : view.full[1];
        const from = view.x(segment[0]), to = view.x(ends);
        if (to >= GUTTER && from <= right) this.block(c, segment, from, to, y, isr);
      });
      c.restore();
    }
  }

  block(c, [, node, epoch, isr], from, to, y, most) {
    const height = LANE_HEIGHT - 5, width = Math.max(1, to - from - 0.8);
    if (node === -2) return;
    if (node === -1) {
      c.fillStyle = hatch(c, theme["fail-edge"], 5, 1.2);
      c.fillRect(from, y + 1, Math.max(2, width), height);
      c.strokeStyle = theme["fail-edge"];
      c.strokeRect(from + 0.5, y + 1.5, Math.max(1, width - 1), height - 1);
      this.label(c, ["nobody"], from, to, y, theme["fail-ink"]);
      return;
    }
    const colour = this.colour(node);
    const shrunken = isr !== null && most > 0 && isr < most;
    c.fillStyle = Charts.faded(colour, shrunken ? 0.1 : 0.32);
    c.fillRect(from, y + 1, width, height);
    if (shrunken) {
      c.strokeStyle = colour;
      c.setLineDash([3, 3]);
      c.strokeRect(from + 0.5, y + 1.5, Math.max(1, width - 1), height - 1);
      c.setLineDash([]);
    }
    c.fillStyle = colour;
    c.fillRect(from, y + 1, Math.min(2.5, width), height);
    const name = this.nodes[node];
    const members = isr === null ? "" : ` · ISR ${isr}`;
    const term = epoch === null ? "" : ` · epoch ${epoch}`;
    this.label(c, [name + term + members, name + members, name], from, to, y, theme.ink);
  }

  label(c, texts, from, to, y, ink) {
    const left = Math.max(from, GUTTER) + 6;
    const room = Math.min(to, this.view.width - RIGHT) - left - 3;
    font(c, 11);
    const text = texts.find((candidate) => c.measureText(candidate).width <= room);
    if (!text) return;
    if (ink === theme["fail-ink"]) {
      c.fillStyle = theme.panel;
      c.fillRect(left - 3, y + 3, c.measureText(text).width + 6, LANE_HEIGHT - 9);
    }
    c.fillStyle = ink;
    c.fillText(text, left, y + LANE_HEIGHT / 2 - 1);
  }

  fitted(c, text, room) {
    let shown = text;
    while (shown.length > 1 && c.measureText(shown).width > room) shown = shown.slice(0, -2) + "…";
    return shown;
  }

  /** What is drawn at a point: {key, node, epoch, isr, from, to}, or null. */
  hit(x, y) {
    const lane = this.lanes[Math.floor((y - 2) / LANE_HEIGHT)];
    if (!lane || Math.floor((y - 2) / LANE_HEIGHT) >= this.shown) return null;
    const time = this.view.time(x);
    let found = -1;
    lane.segments.forEach((segment, i) => { if (segment[0] <= time) found = i; });
    if (found < 0) return null;
    const [from, node, epoch, isr] = lane.segments[found];
    const to = found + 1 < lane.segments.length ? lane.segments[found + 1][0] : this.view.full[1];
    const name = node === -1 ? "nobody" : node === -2 ? "unknown: nobody answered" : this.nodes[node];
    return { key: lane.key, name, epoch, isr, from, to };
  }
}
