/**
 * What `bench whole` finds.
 *
 * @module
 */
import type { StepParts } from "../../core/step_times.ts";
import type { Case, Run } from "./options.ts";

/** Median and 99th percentile, in milliseconds. */
export interface Spread {
  readonly p50: number;
  readonly p99: number;
}

/** Parts of one step, or of one prompt; submissions, too. */
export type PartsOfOne = Omit<StepParts, "steps">;

/** Where a decode step goes, in milliseconds, as the server has counted: means over the steps that count. */
export interface StepShare {
  /** Steps that count. */
  readonly steps: number;
  /** From one step to the next: the three that follow. */
  readonly stepMs: number;
  /** From replies to the next request. */
  readonly betweenMs: number;
  /** Asking the ranks and being answered, beyond what the slowest takes. */
  readonly askingMs: number;
  /** The rank that took longest, which may be another in every step. */
  readonly workerMs: number;
  /** The rank that takes longest when it does not wait for others. */
  readonly rank: string;
  /** Its parts. */
  readonly parts: PartsOfOne;
  /** Telling clients, down to the bytes that HTTP sends; on a cluster beside a step. */
  readonly tellMs: number;
  /** Sums of a step. */
  readonly sums: number;
}

/** Where a prompt goes, in milliseconds: means over all of a case. */
export interface PromptShare {
  /** The worker. */
  readonly rank: string;
  /** Chunks in which a prompt was computed. */
  readonly chunks: number;
  readonly parts: PartsOfOne;
}

/** What a step takes at the least. */
export interface StepFloor {
  readonly weightBytes: number;
  readonly latentBytes: number;
  readonly readMs: number;
  /** A sum that is measured by itself; 0 where there is none. */
  readonly sumMs: number;
  readonly totalMs: number;
}

/** What clients see. */
export interface CaseTimes {
  /** Milliseconds to the first token. */
  readonly firstToken: { readonly p50: number; readonly max: number };
  /** Prompt tokens per second, until the last first token. */
  readonly prefillTokensPerSecond: number;
  /** Milliseconds between tokens of a stream: the first 64 when all run, and the others. */
  readonly firstSteps: Spread;
  readonly laterSteps: Spread | null;
  /** Of all streams together, when all run. */
  readonly tokensPerSecond: number;
}

/** One case. */
export interface CaseResult extends Case {
  /** Why there are no times. */
  readonly error: string | null;
  readonly times: CaseTimes | null;
  readonly prompt: PromptShare | null;
  readonly step: StepShare | null;
  readonly floor: StepFloor | null;
}

/** One server. */
export interface RunResult extends Run {
  /** What devices say they are. */
  readonly description: string;
  /** What the server says it consists of. */
  readonly summary: string;
  /** How ranks give each other their parts. */
  readonly exchange: string | null;
  readonly bytesPerSecond: number;
  /** Whether the device is none; then there is no floor of reading. */
  readonly host: boolean;
  readonly readySeconds: number;
  /** Bytes of a token that a rank caches, the one that caches most; absent from older results. */
  readonly cachedBytesPerToken?: number;
  readonly cases: readonly CaseResult[];
}

/** Everything. */
export interface WholeResult {
  readonly model: string;
  readonly weights: string;
  readonly tokens: number;
  readonly runs: readonly RunResult[];
}
