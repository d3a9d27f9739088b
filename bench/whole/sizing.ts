/**
 * How large a server must be for some cases: its file.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import type { Config } from "../../mod.ts";
import { ceilDiv } from "../../core/numeric.ts";
import type { Case, Run, WholeOptions } from "./options.ts";

/** Tokens that a stream may be ahead of the last one to begin: `LEAD + LEAD_PER_STREAM` for each of them. */
const LEAD = 256;
const LEAD_PER_STREAM = 32;
/** Prompt and answer of the requests that warm a server up. */
export const WARM_UP: { readonly prompt: number; readonly tokens: number } = { prompt: 96, tokens: 48 };

/** Tokens that a stream gets beyond those that count: the first, from which time is counted, and what may come with it in one event, as parts of a character. */
export const SPARE = 5;

/** Tokens that each stream of a case may generate: those that count, and those that come before the last stream begins. One that is alone has no others. */
export function mostGenerated({ batch }: Case, { tokens, lead = LEAD + LEAD_PER_STREAM * batch }: Pick<WholeOptions, "tokens" | "lead">): number {
  return tokens + 2 * SPARE + (batch === 1 ? 0 : lead);
}

/** Tokens of whole blocks that all streams of a case hold at its end, and one block more for each, with which nobody is preempted. */
function held(one: Case, options: Pick<WholeOptions, "tokens" | "lead">, blockTokens: number): number {
  return one.batch * (ceilDiv(one.context + mostGenerated(one, options) + 1, blockTokens) + 1) * blockTokens;
}

/** The cluster file of a server that all cases fit. */
export function configFor(options: WholeOptions, { device, ranks, mixed, attention }: Run): Config {
  const { cases, gpus, halo, prefillChunk, prefillCache } = options;
  // Of ranks that share latents by tokens, a block stands for as many on each.
  const blockTokens = BLOCK_TOKENS * (attention === "dcp" ? ranks ?? 1 : 1);
  const maxBatch = options.maxBatch ?? Math.max(...cases.map(({ batch }) => batch));
  const most = (of: (one: Case) => number) => Math.max(...cases.map(of), maxBatch * (WARM_UP.prompt + WARM_UP.tokens + 2 * blockTokens));
  return {
    model: options.model,
    weights: options.weights,
    device,
    decode: {
      maxBatch,
      // A step is to be one token of each stream.
      speculate: "off",
      exchange: options.exchange,
      feedForward: options.feedForward,
      ...(mixed ? {} : { ranks: ranks ?? undefined }),
      ...(mixed && attention === "mla" ? {} : { attention, halo: attention === "tpla" ? halo : undefined }),
    },
    mixed: mixed ? { workers: 1, ranks: ranks ?? 1 } : undefined,
    // Prompts are computed twice (drive.ts), the second time from here.
    prefill: {
      chunk: prefillChunk,
      cacheTokens: mixed && attention === "mla"
        ? undefined
        : prefillCache ?? most(({ batch, context }) => (batch + 1) * (ceilDiv(context, BLOCK_TOKENS) + 1) * BLOCK_TOKENS),
    },
    cache: { maxTokens: most((one) => held(one, options, blockTokens)), dtype: options.cacheDtype },
    server: { port: 0, maxBodyBytes: 2 ** 26, shutdownTimeout: 1 },
    cluster: gpus === null || ranks === null ? undefined : { hosts: [{ name: "local", gpus: [...gpus] }] },
  };
}
