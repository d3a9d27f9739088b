/**
 * Running totals of a worker, as they travel.
 *
 * @module
 */
import { z } from "zod";
import type { WorkerStats } from "./stats.ts";

const count = z.int().min(0).max(2 ** 31);
const total = z.number().min(0);
/** Clocks of different parts may disagree by less than they can tell. */
const span = z.number();

const partsSchema = z.strictObject({
  steps: count,
  recordMs: span,
  encodeMs: span,
  submitMs: span,
  readbackMs: span,
  peerMs: span,
  sumMs: span,
  handoffMs: span,
  restMs: span,
  deviceMs: span.nullable(),
  submissions: count,
  submissionsAhead: count,
});

/** Running totals of a worker. */
export const statsSchema: z.ZodType<WorkerStats> = z.strictObject({
  collectives: count,
  exchangeMs: total,
  computeMs: total,
  sentBytes: total,
  receivedBytes: total,
  handoffBytes: total,
  handoffFrameBytes: total,
  handoffBusyMs: total,
  handoffStallMs: total,
  freeBlocks: count,
  sequences: count,
  cacheBytesPerToken: total,
  weightBytes: total,
  phase: z.enum(["prefill", "decode"]).nullable(),
  parts: z.strictObject({ prefill: partsSchema, decode: partsSchema }),
});
