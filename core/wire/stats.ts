/**
 * What workers count.
 *
 * @module
 */
import type { StepParts } from "../step_times.ts";

/** Running totals of a worker. */
export interface WorkerStats {
  /** Sums over the ranks of its unit. */
  readonly collectives: number;
  /** Milliseconds spent in them: on the wire, and waiting for slower ranks. */
  readonly exchangeMs: number;
  /** Milliseconds spent on steps and prompts outside of them. */
  readonly computeMs: number;
  /** Bytes sent to other workers over the current links. */
  readonly sentBytes: number;
  /** Bytes received from them. */
  readonly receivedBytes: number;
  /** Latents and rotated keys handed over, without framing. */
  readonly handoffBytes: number;
  /** The same with framing. */
  readonly handoffFrameBytes: number;
  /** Milliseconds in which latents were on their way. */
  readonly handoffBusyMs: number;
  /** The part of it in which prefill had to wait. */
  readonly handoffStallMs: number;
  /** Blocks of its latent cache that nobody holds, and of its cache of prompts, if it has one beside it. */
  readonly freeBlocks: number;
  /** Sequences that hold some; one whose prompt is computed may hold some in both. */
  readonly sequences: number;
  /** Bytes it caches of a token that it keeps, all layers: where ranks share latents by tokens, each keeps some of them. */
  readonly cacheBytesPerToken: number;
  /** Bytes of its weights. */
  readonly weightBytes: number;
  /** What it is computing, or was a moment ago; null: nothing. */
  readonly phase: "prefill" | "decode" | null;
  /** What its prefill chunks, and its decode steps, went into. */
  readonly parts: Readonly<Record<"prefill" | "decode", Readonly<StepParts>>>;
}
