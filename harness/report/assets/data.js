"use strict";
/* The run's data: inflated from the page, undone into typed arrays. The layout is that of bundle.py.
   Nothing here touches the document except to read the two data blocks. */

const Data = {};

/** Return the inflated bytes of a data block (base64 of zlib). */
Data.inflate = async function (id) {
  const text = document.getElementById(id).textContent.trim();
  const letters = atob(text);
  const packed = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) packed[i] = letters.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};

/** Reads columns that are stored byte plane by byte plane. */
class PlaneReader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  read(count, size) {
    const out = size === 1 ? new Uint8Array(count) : size === 2 ? new Uint16Array(count) : new Uint32Array(count);
    for (let plane = 0; plane < size; plane++) {
      const base = this.at + plane * count;
      const shift = 8 * plane;
      for (let i = 0; i < count; i++) out[i] |= this.bytes[base + i] << shift;
    }
    this.at += count * size;
    return out;
  }
}

/** Return the calls as columns; times in seconds since the run began, calls sorted by start. */
Data.calls = function (bytes, meta) {
  const n = meta.count;
  const reader = new PlaneReader(bytes);
  const low = reader.read(n, 4), high = reader.read(n, 4), length = reader.read(n, 4);
  const calls = {
    count: n,
    start: new Float64Array(n), end: new Float64Array(n), length: new Float64Array(n),
    process: reader.read(n, 4), kind: reader.read(n, 1), outcome: reader.read(n, 1), error: reader.read(n, 1),
    invoked: new Float64Array(n), completed: new Float64Array(n),
    keyAt: new Uint32Array(n + 1), key: null, row: new Uint32Array(n),
  };
  const invoked = reader.read(n, 4), completed = reader.read(n, 4), keys = reader.read(n, 2);
  calls.key = reader.read(meta.keyTotal, 2);
  let time = 0, index = 0;
  for (let i = 0; i < n; i++) {
    time += low[i] + high[i] * 4294967296;
    index += invoked[i] & 1 ? -((invoked[i] + 1) / 2) : invoked[i] / 2;
    calls.start[i] = time / 1e6;
    calls.length[i] = length[i] / 1e6;
    calls.end[i] = (time + length[i]) / 1e6;
    calls.invoked[i] = index;
    calls.completed[i] = meta.outcomes[calls.outcome[i]] === "pending" ? -1 : index + completed[i];
    calls.keyAt[i + 1] = calls.keyAt[i] + keys[i];
    calls.row[i] = meta.rows[calls.process[i]];
  }
  return calls;
};

/** Inflate everything; resolves to {calls, facts}. */
Data.load = async function () {
  const [raw, json] = await Promise.all([Data.inflate("calls-data"), Data.inflate("facts-data")]);
  const facts = JSON.parse(new TextDecoder().decode(json));
  const calls = Data.calls(raw, facts.calls);
  const pending = facts.calls.outcomes.indexOf("pending");
  for (let i = 0; i < calls.count; i++) if (calls.outcome[i] === pending) calls.end[i] = facts.end;
  return { calls, facts };
};

/** Return the position of the first element that is >= wanted. */
Data.lowerBound = function (sorted, wanted, from = 0, to = sorted.length) {
  while (from < to) {
    const middle = (from + to) >> 1;
    if (sorted[middle] < wanted) from = middle + 1; else to = middle;
  }
  return from;
};
