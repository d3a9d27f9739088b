/**
 * What kernels have to do at the least: bytes that must be moved once, and operations. A step's other kernels move what they are bound to.
 *
 * @module
 */
import type { AbsorbConfig } from "../../kernels/absorb/absorb.ts";
import type { GatherTokensConfig } from "../../kernels/gather_tokens/gather_tokens.ts";
import type { IndexScoresConfig } from "../../kernels/index_scores/index_scores.ts";
import { cacheTokenBytes, cacheWidth } from "../../kernels/latent_cache/layout.ts";
import type { LatentDecodeConfig } from "../../kernels/latent_decode/latent_decode.ts";
import type { LatentMergeConfig } from "../../kernels/latent_decode/latent_merge.ts";
import { partialWidth, splitCount } from "../../kernels/latent_decode/splits.ts";
import type { BatchUnitsConfig } from "../../kernels/linear/batch_units.ts";
import type { LinearConfig } from "../../kernels/linear/linear.ts";
import { type Dispatch, sidesOf } from "./tracing_device.ts";

/** Least bytes and operations, a multiply-add being two. */
export interface Cost {
  readonly bytes: number;
  readonly flop: number;
}

/** Rows of the decode step that was traced, the tokens that each has before it, and the experts of a layer, of which there may be none. */
export interface TracedStep {
  readonly rows: number;
  readonly context: number;
  /** Tokens that are attended to, where they are chosen; default: all. */
  readonly attended?: number;
  readonly experts: number;
}

/** The cost of one dispatch of a decode step. */
export function costOf(dispatch: Dispatch, step: TracedStep): Cost {
  const both = sidesOf(dispatch);
  if (both !== null) {
    const [first, second] = both.map((side) => costOf(side, step));
    return { bytes: first.bytes + second.bytes, flop: first.flop + second.flop };
  }
  const { kernel, config, params } = dispatch;
  switch (kernel.name) {
    case "matvec":
    case "batch_matvec":
    case "batch_units":
    case "norm_matvec":
      return linearCost(config as LinearConfig & Partial<BatchUnitsConfig>, params.items, params, step);
    case "absorb": {
      const { layout, heads, rows } = config as AbsorbConfig;
      const weights = heads * rows * (layout.rowBytes + layout.scaleRowBytes);
      return { bytes: weights + params.items * (rows + layout.columns) * 4, flop: 2 * params.items * rows * layout.columns };
    }
    case "latent_decode":
      return decodeCost(config as LatentDecodeConfig, step);
    case "latent_merge": {
      const merge = config as LatentMergeConfig;
      const { heads, valueWidth } = merge;
      const items = step.rows * heads;
      return { bytes: items * (splitCount(attendedOf(step), merge) * partialWidth(valueWidth) + valueWidth) * 4, flop: 0 };
    }
    case "index_scores": {
      // Every key is read once for all heads.
      const { cache, heads } = config as IndexScoresConfig;
      const keys = params.rows * (params.tokens === 0 ? 0 : step.context);
      return { bytes: keys * (cacheTokenBytes(cache) + 4), flop: 2 * keys * heads * cache.keyWidth };
    }
    case "choose_tokens":
      return { bytes: params.rows * (step.context + attendedOf(step)) * 4, flop: 0 };
    case "gather_tokens":
      return { bytes: 2 * params.rows * attendedOf(step) * cacheTokenBytes((config as GatherTokensConfig).cache), flop: 0 };
    case "index_keys": {
      const { x, q } = kernel.sizes(config, params);
      return { bytes: x + 2 * q, flop: 0 };
    }
    case "embedding":
      // Of the table only the rows of these tokens are read.
      return { bytes: 2 * kernel.sizes(config, params).y, flop: 0 };
    case "rope_store": {
      const { x, q } = kernel.sizes(config, params);
      return { bytes: x + q, flop: 0 };
    }
    default:
      return { bytes: Object.values(kernel.sizes(config, params)).reduce((sum, bytes) => sum + bytes, 0), flop: 0 };
  }
}

/** Every weight that takes part is read once. */
function linearCost(
  { layout, outputs, select, input, output = "f32" }: LinearConfig & Partial<Pick<BatchUnitsConfig, "output">>,
  items: number,
  params: Dispatch["params"],
  step: TracedStep,
): Cost {
  const share = select.kind === "expert" ? chosenShare(step.experts, items / step.rows, step.rows) : 1;
  const rows = select.kind === "all" ? params.part_outputs : Math.round(params.matrices * share) * outputs;
  const inputs = select.kind === "expert" ? items / select.perInput : items;
  return {
    bytes: rows * (layout.rowBytes + layout.scaleRowBytes) + inputs * layout.columns * (input === "rounded" ? 2 : 4) +
      items * outputs * { f32: 4, f16: 2, activated: 1 }[output],
    flop: 2 * items * (select.kind === "all" ? params.part_outputs : outputs) * layout.columns,
  };
}

/** How many of all experts are expected to be chosen by some row, if rows choose theirs independently and at random. */
export function chosenShare(experts: number, active: number, rows: number): number {
  return 1 - (1 - active / experts) ** rows;
}

function attendedOf({ context, attended = context }: TracedStep): number {
  return Math.min(context, attended);
}

/** Every latent is read once for all heads. */
function decodeCost(config: LatentDecodeConfig, step: TracedStep): Cost {
  const [rows, context] = [step.rows, attendedOf(step)];
  const { cache, heads, valueWidth } = config;
  const latents = rows * context * cacheTokenBytes(cache);
  const partial = rows * heads * splitCount(context, config) * partialWidth(valueWidth) * 4;
  return { bytes: latents + partial, flop: 2 * rows * context * heads * (cacheWidth(cache) + valueWidth) };
}
