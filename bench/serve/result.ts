/**
 * What the serve bench measures.
 *
 * @module
 */

/** 50th, 90th and 99th percentile, in milliseconds. */
export interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

/** One request rate. */
export interface ServeResult {
  /** Requests per second offered, and completed. */
  readonly rate: number;
  readonly completedRate: number;
  readonly requests: number;
  readonly failed: number;
  readonly tokensPerSecond: number;
  /** Requests per second that were served well. */
  readonly goodput: number;
  readonly ttft: Percentiles;
  /** Mean time per token after the first, of each request. */
  readonly tpot: Percentiles;
  /** Between any two tokens. */
  readonly itl: Percentiles;
}
