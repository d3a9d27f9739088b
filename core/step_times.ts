/**
 * Where the time of steps goes: as whoever asks for them sees it, and as a worker that computes them does. All are running totals, in milliseconds where nothing
 * else is said.
 *
 * @module
 */

/** Decode steps, as whoever asks for them sees it. */
export interface StepTimes {
  /** Decode steps so far. */
  steps: number;
  /** Tokens that they computed. */
  rows: number;
  /** Between exchanges, of the rank that is slowest there. */
  computeMs: number;
  /** Of each exchange, the wait of the rank that came last: the others also wait for it to compute. */
  exchangeMs: number;
  /** Of the rank that took longest, all of it. */
  workerMs: number;
  /** From request to replies: what it exceeds {@link workerMs} by is asking and being answered. */
  totalMs: number;
  /** From replies to the next request, where one followed at once: choosing tokens and who is next. */
  betweenMs: number;
  /** Telling clients, down to the bytes that HTTP sends; beside a step, not between steps, where a cluster does it. */
  tellMs: number;
}

/** No steps yet. */
export function newStepTimes(): StepTimes {
  return { steps: 0, rows: 0, computeMs: 0, exchangeMs: 0, workerMs: 0, totalMs: 0, betweenMs: 0, tellMs: 0 };
}

/** Parts that make up the whole of a step, as {@link StepParts} has them. */
export const STEP_PARTS = ["record", "encode", "submit", "readback", "peer", "sum", "handoff", "rest"] as const;

/** Decode steps of one worker, or its prefill chunks. All parts but {@link deviceMs}, which goes on beside them, make up the whole. */
export interface StepParts {
  /** How many. */
  steps: number;
  /** Recording commands, and encoding those that were not foreseen; on the CPU, computing. */
  recordMs: number;
  /** Encoding ahead what comes next, while the device works. */
  encodeMs: number;
  /** Handing commands to the device. */
  submitMs: number;
  /** Waiting for what the device gives back. */
  readbackMs: number;
  /** Giving other ranks this one's part of a sum, and waiting for theirs. */
  peerMs: number;
  /** Adding parts and giving them to the device. */
  sumMs: number;
  /** Handing latents over. */
  handoffMs: number;
  /** Whatever else the worker does. */
  restMs: number;
  /** In passes on the device; null where passes are not timed (`LATENTMESH_DEVICE_TIMES`). */
  deviceMs: number | null;
  /** Submissions. */
  submissions: number;
  /** Those that were encoded before they were asked for. */
  submissionsAhead: number;
}

/** What one process that serves by itself has done. */
export interface ProcessWork {
  /** Decode steps. */
  readonly steps: Readonly<StepTimes>;
  /** What decode steps, and prefill chunks, went into. */
  readonly parts: Readonly<Record<"prefill" | "decode", Readonly<StepParts>>>;
}

/** No steps yet. */
export function newStepParts(): StepParts {
  return {
    steps: 0,
    recordMs: 0,
    encodeMs: 0,
    submitMs: 0,
    readbackMs: 0,
    peerMs: 0,
    sumMs: 0,
    handoffMs: 0,
    restMs: 0,
    deviceMs: null,
    submissions: 0,
    submissionsAhead: 0,
  };
}
