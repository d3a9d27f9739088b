/**
 * Runs whole sequences through a model and reads back what the tests look at.
 *
 * @module
 */
import { isMoeLayer, type ModelSpec, type MoeSpec } from "../../core/model/spec.ts";
import type { Phase } from "../../workers/forward/linear_binding.ts";
import type { Model } from "../../workers/forward/model.ts";

/** What one sequence gave. */
export interface SequenceRun {
  /** [tokens, vocabulary] */
  readonly logits: Float32Array;
  /** Per MoE layer: chosen experts [tokens, active] and router logits [tokens, experts]; empty unless asked for. */
  readonly layers: readonly { readonly routes: Uint32Array; readonly routerLogits: Float32Array }[];
}

/** Runs `tokens` as one new sequence in steps of `chunk` tokens. @param options.promptTokens where they are only the beginning of a prompt, of how many */
export async function runSequence(
  model: Model,
  tokens: readonly number[],
  phase: Phase,
  chunk: number,
  options: { readonly routes?: boolean; readonly promptTokens?: number } = {},
): Promise<SequenceRun> {
  const { spec, cache, head, limits } = model;
  const logits = new Float32Array(tokens.length * spec.vocabSize);
  const moe = spec.moe;
  const routed = Array.from({ length: spec.layers }, (_, layer) => layer).filter((layer) => isMoeLayer(spec, layer));
  const choices = moe === null ? 0 : moe.experts + moe.identityExperts;
  const layers = moe === null || !options.routes ? [] : routed.map(() => ({
    routes: new Uint32Array(tokens.length * moe.activeExperts),
    routerLogits: new Float32Array(tokens.length * choices),
  }));
  // As transformers does, which is given all of it at once.
  const sequence = cache.open(options.promptTokens ?? tokens.length);
  for (let start = 0; start < tokens.length; start += chunk) {
    const rows = Math.min(chunk, tokens.length - start);
    cache.grow(sequence, rows);
    const pending: (() => Promise<void>)[] = [];
    const readbacks = await Promise.all(layers.map(async ({ routes, routerLogits }) => ({
      routes: await model.device.createReadback("routes", routes.byteLength),
      logits: await model.device.createReadback("router logits", routerLogits.byteLength),
    })));
    const step = { phase, rows: tokens.slice(start, start + rows).map((token, i) => ({ token, position: start + i, sequence })) };
    model.record(step, (layer, activations) => {
      if (layers.length === 0 || !isMoeLayer(spec, layer)) return;
      const index = routed.indexOf(layer);
      const { routes, logits } = readbacks[index];
      model.device.read(routes, activations.routes, 0, rows * moe!.activeExperts * 4);
      model.device.read(logits, activations.routerLogits, 0, rows * choices * 4);
      pending.push(async () => {
        layers[index].routes.set(new Uint32Array((await routes.take()).slice().buffer), start * moe!.activeExperts);
        layers[index].routerLogits.set(new Float32Array((await logits.take()).slice().buffer), start * choices);
      });
    });
    model.device.submit();
    for (const read of pending) await read();
    for (const { routes, logits } of readbacks) [routes, logits].forEach((readback) => readback.destroy());
    sequence.length += rows;
    for (let first = 0; first < rows; first += limits.logitRows) {
      const count = Math.min(limits.logitRows, rows - first);
      head.recordLogits(phase, first, count);
      logits.set(await head.logits(count), (start + first) * spec.vocabSize);
    }
  }
  cache.close(sequence);
  cache.checkIntegrity();
  return { logits, layers };
}

/** A position at which two runs chose different experts. */
export interface Flip {
  readonly position: number;
  /** By how much the exact run chose as it did, in the first layer that flipped. */
  readonly margin: number;
}

/**
 * Positions whose experts differ between two runs, in any layer; none in a model without experts.
 *
 * @param biases correction bias of each MoE layer
 */
export function routeFlips(spec: ModelSpec, tokens: number, exact: SequenceRun, other: SequenceRun, biases: readonly Float32Array[]): Flip[] {
  if (spec.moe === null) return [];
  const { activeExperts: active, experts: withWeights, identityExperts } = spec.moe;
  const experts = withWeights + identityExperts;
  const flips: Flip[] = [];
  for (let position = 0; position < tokens; position++) {
    const chosen = (run: SequenceRun, layer: number) =>
      [...run.layers[layer].routes.subarray(position * active, (position + 1) * active)].sort((a, b) => a - b);
    const layer = exact.layers.findIndex((_, l) => chosen(exact, l).join() !== chosen(other, l).join());
    if (layer < 0) continue;
    const logits = exact.layers[layer].routerLogits.subarray(position * experts, (position + 1) * experts);
    flips.push({ position, margin: routerMargin(spec.moe, logits, biases[layer]) });
  }
  return flips;
}

/** Gap between the last chosen and the first refused: of experts among the chosen groups, and of groups. */
function routerMargin(moe: MoeSpec, logits: Float32Array, bias: Float32Array): number {
  const exponentials = Array.from(logits, Math.exp);
  const total = exponentials.reduce((a, b) => a + b);
  const scores = exponentials.map((e) => (moe.scoring === "sigmoid" ? e / (1 + e) : e / total));
  const choice = scores.map((score, e) => score + bias[e]);
  const size = scores.length / moe.groups;
  const descending = (values: number[]) => values.sort((a, b) => b - a);
  const groups = Array.from({ length: moe.groups }, (_, g) => {
    const [first, second] = descending(choice.slice(g * size, (g + 1) * size));
    return { g, score: moe.groupScore === "top2" ? first + second : first };
  }).sort((a, b) => b.score - a.score);
  const kept = new Set(groups.slice(0, moe.activeGroups).map(({ g }) => g));
  const experts = descending(choice.filter((_, e) => kept.has(Math.floor(e / size))));
  const gap = (values: readonly number[], chosen: number) => (chosen < values.length ? values[chosen - 1] - values[chosen] : Infinity);
  return Math.min(gap(experts, moe.activeExperts), gap(groups.map(({ score }) => score), moe.activeGroups));
}
