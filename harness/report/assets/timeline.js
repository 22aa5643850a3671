"use strict";
/* The operations, one row per worker, on one canvas. At 100,000 operations a redraw walks the visible part of typed
   arrays once; neighbours narrower than a pixel are merged into one bar per outcome, the worst outcome on top, so that
   a lone failure is never lost between successes. Shapes: ok a middle bar, info a tall striped one, fail a low
   one, no answer a tall open one.

   Selection and highlight are indexes into the calls. Filters hide; the highlighted calls are drawn above a veil. */

const ROW_HEIGHTS = [[14, 24], [28, 18], [64, 13], [Infinity, 9]];
const MIN_WIDTH = 1.6;
const MERGE_BELOW = 1.2;
const LABEL_ROOM = 40;

class Timeline {
  constructor(viewport, spacer, canvas, view, calls, facts) {
    Object.assign(this, { viewport, spacer, canvas, view, calls, facts });
    this.names = facts.calls;
    this.outcomes = facts.calls.outcomes;
    this.visible = new Uint8Array(calls.count).fill(1);
    this.matching = calls.count;
    this.selected = -1;
    this.marked = [];
    this.lastDrawMs = 0;
    this.order();
    viewport.addEventListener("scroll", () => view.queue());
    view.listen(() => this.draw());
  }

  /** Group the calls by row, in order of start, and remember where the process of a row changes. */
  order() {
    const { calls } = this;
    let rows = 0;
    for (const row of calls.row) rows = Math.max(rows, row + 1);
    this.rows = rows;
    this.rowAt = new Uint32Array(rows + 1);
    for (const row of calls.row) this.rowAt[row + 1]++;
    for (let row = 0; row < rows; row++) this.rowAt[row + 1] += this.rowAt[row];
    this.inRow = new Uint32Array(calls.count);
    const next = this.rowAt.slice();
    for (let i = 0; i < calls.count; i++) this.inRow[next[calls.row[i]]++] = i;
    this.rowHeight = ROW_HEIGHTS.find(([most]) => rows <= most)[1];
    this.spacer.style.height = rows * this.rowHeight + 4 + "px";
  }

  height() { return Math.min(this.rows * this.rowHeight + 4, 460); }

  /** Position in inRow of the first call of a row that ends at or after a time. */
  firstIn(row, time) {
    let from = this.rowAt[row], to = this.rowAt[row + 1];
    while (from < to) {
      const middle = (from + to) >> 1;
      if (this.calls.end[this.inRow[middle]] < time) from = middle + 1; else to = middle;
    }
    return from;
  }

  rowsInSight() {
    const top = this.viewport.scrollTop;
    const from = Math.max(0, Math.floor(top / this.rowHeight));
    return [from, Math.min(this.rows, Math.ceil((top + this.height()) / this.rowHeight) + 1), top];
  }

  draw() {
    const began = performance.now();
    const { view } = this;
    const height = this.height();
    const c = fit(this.canvas, view.width, height);
    const [first, last, top] = this.rowsInSight();
    Ruler.shade(c, view, this.facts.faults, 0, height);
    c.save();
    c.beginPath();
    c.rect(GUTTER, 0, view.width - GUTTER - RIGHT, height);
    c.clip();
    const found = this.rectangles(first, last);
    for (let row = first; row < last; row++) {
      c.fillStyle = theme.line;
      c.fillRect(GUTTER, Math.round((row + 1) * this.rowHeight - top) - 0.5, view.width, 0.5);
    }
    c.globalAlpha = this.marked.length ? 0.28 : 1;
    for (const outcome of [0, 3, 2, 1]) this.paint(c, found[outcome], outcome, top);
    c.globalAlpha = 1;
    if (!this.marked.length) this.labels(c, found.wide, top);
    this.boundaries(c, first, last, top);
    for (const i of this.marked) this.mark(c, i, top, true);
    if (this.selected >= 0 && !this.marked.includes(this.selected)) this.mark(c, this.selected, top, false);
    c.restore();
    this.rowLabels(c, first, last, top);
    this.lastDrawMs = performance.now() - began;
  }

  /** Rectangles [x, width, row, …] by outcome, and the wide ones that have room for words. */
  rectangles(first, last) {
    const { calls, view, visible } = this;
    const found = { 0: [], 1: [], 2: [], 3: [], wide: [] };
    const scale = view.scale();
    const columns = new Float64Array(4);
    for (let row = first; row < last; row++) {
      columns.fill(-1);
      const end = this.rowAt[row + 1];
      for (let at = this.firstIn(row, view.min); at < end; at++) {
        const i = this.inRow[at];
        const start = calls.start[i];
        if (start > view.max) break;
        if (!visible[i]) continue;
        const x = GUTTER + (start - view.min) * scale;
        const width = (calls.end[i] - start) * scale;
        const outcome = calls.outcome[i];
        if (width < MERGE_BELOW) {
          const list = found[outcome];
          if (x <= columns[outcome]) list[list.length - 2] = x + MIN_WIDTH - list[list.length - 3];
          else list.push(x, MIN_WIDTH, row);
          columns[outcome] = x + MIN_WIDTH;
        } else {
          columns[outcome] = -1;
          const from = Math.max(x, GUTTER - 8);
          const drawn = Math.min(x + width, view.width + 8) - from;
          found[outcome].push(from, Math.max(MIN_WIDTH, drawn - (drawn > 4 ? 1 : 0)), row);
          if (drawn > LABEL_ROOM) found.wide.push(i, from, drawn);
        }
      }
    }
    return found;
  }

  /** Top and height of an outcome's shape inside a row. */
  shape(outcome) {
    const h = this.rowHeight;
    const name = this.outcomes[outcome];
    if (name === "ok") return [h * 0.2, h * 0.6];
    if (name === "fail") return [h * 0.58, h * 0.34];
    return [h * 0.08, h * 0.84];
  }

  paint(c, list, outcome, top) {
    const [offset, height] = this.shape(outcome);
    const name = this.outcomes[outcome];
    const h = this.rowHeight;
    const colour = name === "ok" ? theme.ok : name === "fail" ? theme.fail : theme.info;
    const edge = name === "ok" ? theme["ok-edge"] : name === "fail" ? theme["fail-edge"] : theme["info-edge"];
    c.fillStyle = colour;
    const striped = name === "info" || name === "pending";
    const bands = [];
    for (let k = 0; k < list.length; k += 3) {
      const y = list[k + 2] * h - top + offset;
      if (striped && list[k + 1] >= 5) bands.push(list[k], y, list[k + 1]);
      else {
        if (name === "fail") c.fillStyle = list[k + 1] < 5 ? edge : colour;
        c.fillRect(list[k], y, list[k + 1], height);
      }
    }
    if (bands.length) {
      c.fillStyle = hatch(c, colour, 5, name === "info" ? 2.2 : 1);
      for (let k = 0; k < bands.length; k += 3) c.fillRect(bands[k], bands[k + 1], bands[k + 2], height);
      c.strokeStyle = edge;
      c.lineWidth = 1;
      c.setLineDash(name === "pending" ? [3, 2] : []);
      for (let k = 0; k < bands.length; k += 3) c.strokeRect(bands[k] + 0.5, bands[k + 1] + 0.5, bands[k + 2] - 1, height - 1);
      c.setLineDash([]);
    }
    if (name !== "fail") return;
    c.strokeStyle = edge;
    c.lineWidth = 1;
    for (let k = 0; k < list.length; k += 3) {
      if (list[k + 1] >= 5) c.strokeRect(list[k] + 0.5, list[k + 2] * h - top + offset + 0.5, list[k + 1] - 1, height - 1);
    }
  }

  words(i) {
    const { calls, names } = this;
    const keys = [];
    for (let k = calls.keyAt[i]; k < calls.keyAt[i + 1] && keys.length < 6; k++) keys.push(names.keys[calls.key[k]]);
    return [names.kinds[calls.kind[i]], keys];
  }

  labels(c, wide, top) {
    if (this.rowHeight < 13) return;
    font(c, 11);
    c.textBaseline = "middle";
    for (let k = 0; k < wide.length; k += 3) {
      const [kind, keys] = this.words(wide[k]);
      const room = wide[k + 2] - 10;
      const text = [`${kind} ${keys.join(" ")}`, kind].find((one) => c.measureText(one).width <= room);
      if (!text) continue;
      const outcome = this.outcomes[this.calls.outcome[wide[k]]];
      const x = Math.max(wide[k + 1], GUTTER) + 5, y = this.calls.row[wide[k]] * this.rowHeight - top + this.rowHeight / 2;
      if (outcome !== "ok") {
        c.fillStyle = theme.panel;
        c.globalAlpha = 0.8;
        c.fillRect(x - 2, y - 6.5, c.measureText(text).width + 4, 13);
        c.globalAlpha = 1;
      }
      c.fillStyle = outcome === "ok" ? "#0c1a28" : theme.ink;
      c.fillText(text, x, y + 0.5);
    }
  }

  /** A thin line where a worker goes on under a new process number. */
  boundaries(c, first, last, top) {
    const { calls, view } = this;
    c.fillStyle = theme["line-strong"];
    for (let row = first; row < last; row++) {
      let before = -1, drawn = -9;
      for (let at = this.firstIn(row, view.min); at < this.rowAt[row + 1]; at++) {
        const i = this.inRow[at];
        if (calls.start[i] > view.max) break;
        if (before >= 0 && calls.process[i] !== before) {
          const x = view.x(calls.start[i]) - 1;
          if (x - drawn > 6) { c.fillRect(x, row * this.rowHeight - top + 1, 1, this.rowHeight - 2); drawn = x; }
        }
        before = calls.process[i];
      }
    }
  }

  rowLabels(c, first, last, top) {
    if (this.rowHeight < 9) return;
    const { calls, view, names } = this;
    font(c, this.rowHeight < 13 ? 9 : 11.5);
    c.textBaseline = "middle";
    c.fillStyle = theme.faint;
    for (let row = first; row < last; row++) {
      const at = this.firstIn(row, view.min);
      if (at >= this.rowAt[row + 1]) continue;
      const until = this.firstIn(row, view.max);
      const one = names.processes[calls.process[this.inRow[at]]];
      const other = names.processes[calls.process[this.inRow[Math.min(until, this.rowAt[row + 1] - 1)]]];
      const text = calls.start[this.inRow[at]] > view.max ? "" : one === other ? String(one) : `${one} … ${other}`;
      c.fillText(text, 16, row * this.rowHeight - top + this.rowHeight / 2 + 0.5);
    }
  }

  mark(c, i, top, pinned) {
    const { calls, view } = this;
    const outcome = calls.outcome[i];
    const [offset, height] = this.shape(outcome);
    const x = view.x(calls.start[i]);
    const width = Math.max(4, (calls.end[i] - calls.start[i]) * view.scale());
    const y = calls.row[i] * this.rowHeight - top;
    this.paint(c, [x, width, calls.row[i]], outcome, top);
    c.strokeStyle = theme.ink;
    c.lineWidth = 2;
    c.strokeRect(x - 2, y + offset - 2, width + 4, height + 4);
    if (!pinned) return;
    const text = `${this.words(i)[0]} #${calls.completed[i] >= 0 ? calls.completed[i] : calls.invoked[i]}`;
    font(c, 11, 600);
    const wide = c.measureText(text).width + 10;
    const left = Math.max(GUTTER, Math.min(x, view.width - RIGHT - wide));
    const above = y >= 17 ? y - 15 : y + this.rowHeight + 1;
    c.fillStyle = theme.ink;
    c.fillRect(left, above, wide, 15);
    c.fillStyle = theme.panel;
    c.textBaseline = "middle";
    c.fillText(text, left + 5, above + 8);
  }

  /** The visible call at a point of the canvas, or -1; a narrow one is found within a few pixels. */
  hit(x, y) {
    const [, , top] = this.rowsInSight();
    const row = Math.floor((y + top) / this.rowHeight);
    if (row < 0 || row >= this.rows || x < GUTTER) return -1;
    const time = this.view.time(x), slack = 4 / this.view.scale();
    let best = -1, least = slack;
    for (let at = this.firstIn(row, time - slack); at < this.rowAt[row + 1]; at++) {
      const i = this.inRow[at];
      if (this.calls.start[i] > time + slack) break;
      if (!this.visible[i]) continue;
      const far = Math.max(this.calls.start[i] - time, time - this.calls.end[i], 0);
      if (far < least || (far === 0 && least === 0)) { best = i; least = far; }
    }
    return best;
  }

  /** Hide what doesn't match; wanted: {outcomes: Set, kinds: Set, processes: fn|null, key: number|null}. */
  filter(wanted) {
    const { calls, names } = this;
    const processes = wanted.processes ? names.processes.map((number) => (wanted.processes(number) ? 1 : 0)) : null;
    this.matching = 0;
    for (let i = 0; i < calls.count; i++) {
      let shown = wanted.outcomes.has(calls.outcome[i]) && wanted.kinds.has(calls.kind[i]);
      if (shown && processes) shown = processes[calls.process[i]] === 1;
      if (shown && wanted.key !== null) {
        shown = false;
        for (let k = calls.keyAt[i]; k < calls.keyAt[i + 1]; k++) if (calls.key[k] === wanted.key) { shown = true; break; }
      }
      this.visible[i] = shown ? 1 : 0;
      if (shown) this.matching++;
    }
    this.view.queue();
  }

  /** The calls that carry these history indexes. */
  find(indexes) {
    const wanted = new Set(indexes), found = [];
    for (let i = 0; i < this.calls.count; i++) {
      if (wanted.has(this.calls.completed[i]) || wanted.has(this.calls.invoked[i])) found.push(i);
    }
    return found;
  }

  /** Mark calls and bring them into sight: zoom to their stretch, scroll to their rows. */
  show(found) {
    this.marked = found;
    if (!found.length) return this.view.queue();
    const { calls } = this;
    let from = Infinity, to = -Infinity, row = Infinity;
    for (const i of found) {
      from = Math.min(from, calls.start[i]);
      to = Math.max(to, calls.end[i]);
      row = Math.min(row, calls.row[i]);
    }
    const margin = Math.max((to - from) * 0.3, 0.02);
    this.view.set(from - margin, to + margin);
    this.reveal(row);
  }

  reveal(row) {
    const top = row * this.rowHeight, box = this.viewport;
    if (top < box.scrollTop || top + this.rowHeight > box.scrollTop + box.clientHeight) box.scrollTop = Math.max(0, top - 2 * this.rowHeight);
  }

  /** The next visible call after (step 1) or before (step -1) the selected one, in order of start; -1 if none. */
  step(step, matches = () => true) {
    let i = this.selected;
    if (i < 0) i = Data.lowerBound(this.calls.start, this.view.min) - (step > 0 ? 1 : 0);
    for (i += step; i >= 0 && i < this.calls.count; i += step) if (this.visible[i] && matches(i)) return i;
    return -1;
  }

  select(i) {
    this.selected = i;
    if (i >= 0) {
      const { calls, view } = this;
      if (calls.end[i] < view.min || calls.start[i] > view.max) {
        const half = (view.max - view.min) / 2, middle = (calls.start[i] + calls.end[i]) / 2;
        view.set(middle - half, middle + half);
      }
      this.reveal(calls.row[i]);
    }
    this.view.queue();
  }
}
