// What the server said over the last minutes.

/** Looks at the server, about one per second. */
export class Recent {
  /** @param {number} span seconds that are remembered */
  constructor(span) {
    this.span = span;
    this.entries = [];
    this.last = null;
  }

  /** @param {object} status what `/cluster` says @param {number} now milliseconds */
  add(status, now = performance.now()) {
    const { generatedTokens, recent, units } = status;
    const seconds = this.last === null ? null : (now - this.last.at) / 1000;
    const groups = units.filter(({ role }) => role !== "prefill");
    const blocks = groups.reduce((sum, { cache }) => sum + cache.blocks, 0);
    const available = groups.reduce((sum, { cache }) => sum + cache.available, 0);
    this.entries.push({
      at: now,
      throughput: seconds === null ? null : Math.max(0, generatedTokens - this.last.generatedTokens) / seconds,
      first: recent.firstTokenMs?.median ?? null,
      firstHigh: recent.firstTokenMs?.high ?? null,
      between: recent.interTokenMs?.median ?? null,
      betweenHigh: recent.interTokenMs?.high ?? null,
      cache: blocks === 0 ? null : (1 - available / blocks) * 100,
    });
    while (this.entries[0].at < now - this.span * 1000) this.entries.shift();
    this.last = { at: now, generatedTokens };
  }

  /** Columns of a chart: seconds before the last look, and the values of fields. @param {string[]} fields */
  columns(fields) {
    const now = this.last?.at ?? 0;
    return [this.entries.map(({ at }) => (at - now) / 1000), ...fields.map((field) => this.entries.map((entry) => entry[field]))];
  }
}
