"use strict";
/* The top of the stack, always in sight: ticks of time, the phases of the run, and one block per fault window.
   A fault that bit is a filled block with a tick mark, one that missed is dashed. A line leads to the block from where the
   injection began, and from it to where the cluster was healed. Overlapping faults take two lines. */

const TICKS_HEIGHT = 24;
const FAULT_HEIGHT = 19;

class Ruler {
  constructor(canvas, view, facts) {
    this.canvas = canvas;
    this.view = view;
    this.phases = facts.phases;
    this.faults = facts.faults;
    this.depth = Ruler.stackUp(this.faults);
    view.listen(() => this.draw());
  }

  /** Give every fault the first line that is free when it begins; return how many lines there are. */
  static stackUp(faults) {
    const busy = [];
    for (const fault of faults) {
      let line = busy.findIndex((until) => until <= fault.aimed);
      if (line < 0) line = busy.length;
      busy[line] = fault.healed;
      fault.line = line;
    }
    return busy.length;
  }

  height() { return TICKS_HEIGHT + 18 + this.depth * FAULT_HEIGHT + 6; }

  draw() {
    const { view } = this;
    const width = view.width;
    const c = fit(this.canvas, width, this.height());
    const step = tickStep(view.max - view.min, (width - GUTTER) / 90);
    font(c, 12);
    c.textBaseline = "middle";
    c.fillStyle = theme.soft;
    c.strokeStyle = theme["line-strong"];
    c.beginPath();
    for (let t = Math.ceil(view.min / step) * step; t <= view.max + step * 1e-6; t += step) {
      const x = Math.round(view.x(t)) + 0.5;
      c.moveTo(x, TICKS_HEIGHT - 6);
      c.lineTo(x, TICKS_HEIGHT);
      const label = seconds(Math.abs(t) < step * 1e-6 ? 0 : t, step);
      c.fillText(label, Math.min(x - c.measureText(label).width / 2, width - c.measureText(label).width - 2), 9);
    }
    c.stroke();
    this.drawPhases(c, width);
    this.drawFaults(c, width);
  }

  drawPhases(c, width) {
    const y = TICKS_HEIGHT + 10;
    font(c, 12);
    c.fillStyle = theme.faint;
    c.fillText("Phase", 16, y);
    this.phases.forEach(([name, begins], i) => {
      const ends = i + 1 < this.phases.length ? this.phases[i + 1][1] : this.view.full[1];
      const from = Math.max(GUTTER, this.view.x(begins)), to = Math.min(width - RIGHT, this.view.x(ends));
      if (to <= from) return;
      c.strokeStyle = theme["line-strong"];
      c.beginPath();
      c.moveTo(Math.round(from) + 0.5, y - 7);
      c.lineTo(Math.round(from) + 0.5, y + 7);
      c.stroke();
      if (c.measureText(name).width + 8 < to - from) {
        c.fillStyle = theme.soft;
        c.fillText(name, from + 5, y);
      }
    });
  }

  drawFaults(c, width) {
    if (!this.faults.length) return;
    const top = TICKS_HEIGHT + 20;
    font(c, 12);
    c.fillStyle = theme.faint;
    c.fillText("Faults", 16, top + FAULT_HEIGHT / 2);
    c.save();
    c.beginPath();
    c.rect(GUTTER, top - 2, width - GUTTER - RIGHT, this.depth * FAULT_HEIGHT + 6);
    c.clip();
    for (const fault of this.faults) {
      const from = this.view.x(fault.begins);
      const to = Math.max(this.view.x(fault.heals), from + 2);
      const y = top + fault.line * FAULT_HEIGHT;
      const first = this.view.x(fault.aimed), last = this.view.x(fault.healed);
      if (last < GUTTER || first > width) continue;
      c.fillStyle = theme["band-edge"];
      const middle = Math.round(y + FAULT_HEIGHT / 2 - 2);
      c.fillRect(first, middle, from - first, 1);
      c.fillRect(to, middle, last - to, 1);
      c.fillRect(Math.round(first), middle - 3, 1, 7);
      c.fillRect(Math.round(last), middle - 3, 1, 7);
      c.fillStyle = theme.band;
      c.strokeStyle = theme["band-edge"];
      c.setLineDash(fault.bit === false ? [3, 3] : []);
      c.beginPath();
      c.roundRect(from + 0.5, y + 0.5, Math.max(1, to - from - 1), FAULT_HEIGHT - 4, 3);
      if (fault.bit !== false) c.fill();
      c.stroke();
      c.setLineDash([]);
      const room = to - Math.max(from, GUTTER) - 12;
      const mark = fault.bit === false ? "✕ " : fault.bit ? "✓ " : "";
      const where = fault.nodes.join(", ");
      const label = [`${mark}${fault.name} ${where}`.trim(), mark + fault.name, mark + where, mark.trim()]
        .find((text) => c.measureText(text).width <= room);
      c.fillStyle = theme.ink;
      if (label) c.fillText(label, Math.max(from, GUTTER) + 6, y + FAULT_HEIGHT / 2 - 1.5);
    }
    c.restore();
  }

  /** The fault drawn at a point, or null. */
  hit(x, y) {
    const line = Math.floor((y - TICKS_HEIGHT - 20) / FAULT_HEIGHT);
    return this.faults.find((fault) => fault.line === line && this.view.x(fault.aimed) - 2 <= x && x <= Math.max(this.view.x(fault.healed), this.view.x(fault.begins) + 4)) || null;
  }

  /** Shade the fault windows behind a plot of this height, and more faintly the time that each injection took. */
  static shade(c, view, faults, top, height) {
    c.save();
    c.beginPath();
    c.rect(GUTTER, top, view.width - GUTTER - RIGHT, height);
    c.clip();
    for (const fault of faults) {
      const from = view.x(fault.begins), to = Math.max(view.x(fault.heals), from + 1);
      const first = view.x(fault.aimed);
      if (to < GUTTER || first > view.width) continue;
      c.globalAlpha = 0.5;
      c.fillStyle = theme.band;
      c.fillRect(first, top, from - first, height);
      c.globalAlpha = 1;
      c.fillStyle = fault.bit === false ? hatch(c, theme.band, 7, 2) : theme.band;
      c.fillRect(from, top, to - from, height);
      c.fillStyle = theme["band-edge"];
      c.fillRect(Math.round(from), top, 1, height);
      c.fillRect(Math.round(to), top, 1, height);
    }
    c.restore();
  }
}
