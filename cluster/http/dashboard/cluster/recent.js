// What the server said over the last minutes.

/** Looks at the server, about one per second. */
export class Recent {
  /** @param {number} span seconds that are remembered */
  constructor(span) {
    this.span = span;
    this.entries = [];
  }

  /** @param {Record<string, number | null>} values by field @param {number} now milliseconds */
  add(values, now) {
    this.entries.push({ at: now, ...values });
    while (this.entries[0].at < now - this.span * 1000) this.entries.shift();
  }

  /** Columns of a chart: seconds before the last look, and the values of fields. @param {string[]} fields */
  columns(fields) {
    const now = this.entries.at(-1)?.at ?? 0;
    return [this.entries.map(({ at }) => (at - now) / 1000), ...fields.map((field) => this.entries.map((entry) => entry[field]))];
  }
}

/**
 * What charts of a cluster show.
 *
 * @param {object} status what `/cluster` says
 * @param {number | null} throughput tokens per second since the last look, as flows have it; null: there was none
 */
export function clusterValues({ recent, units }, throughput) {
  const groups = units.filter(({ role }) => role !== "prefill");
  const blocks = groups.reduce((sum, { cache }) => sum + cache.blocks, 0);
  const available = groups.reduce((sum, { cache }) => sum + cache.available, 0);
  return {
    throughput,
    first: recent.firstTokenMs?.median ?? null,
    firstHigh: recent.firstTokenMs?.high ?? null,
    between: recent.interTokenMs?.median ?? null,
    betweenHigh: recent.interTokenMs?.high ?? null,
    cache: blocks === 0 ? null : (1 - available / blocks) * 100,
  };
}

/** Charts of a cluster. */
export const CLUSTER_CHARTS = [
  { name: "Tokens per second", unit: "", fields: ["throughput"] },
  { name: "Time to first token", unit: " ms", fields: ["first", "firstHigh"] },
  { name: "Between tokens", unit: " ms", fields: ["between", "betweenHigh"] },
  { name: "Cache in use", unit: " %", fields: ["cache"], most: 100 },
];
