/**
 * `decode.feedForward: auto`: whether the ranks of a decode group have feed-forward blocks whole, so that a layer has one sum instead of two.
 *
 * @module
 */
import { isHost, isHostChoice } from "../../core/device_kind.ts";
import type { ModelDescription } from "../../core/model_package.ts";
import { isMoeLayer, type ModelSpec } from "../../core/model/spec.ts";
import { messageOf } from "../../core/errors.ts";
import { wholeMemory } from "../../core/tpla/plan.ts";
import { mustReplicate, planCache } from "./assignment.ts";
import { formatBytes, log } from "../logs/log.ts";
import { probePrefillDevice } from "./prefill_device.ts";
import { planRanks } from "./rank_plan.ts";
import type { PlanServices } from "./services.ts";
import type { Settings } from "../config/settings.ts";
import { planUnits } from "./topology.ts";

/**
 * Bytes of weights that a rank may read more for every layer of a token than where ranks share them. A GPU reads as many in about the time that a sum takes
 * (bench/NOTES.md), so that beyond it the sum is the lesser evil.
 */
const MOST_MORE_BYTES = 256 << 20;

/** Of what a device has left, the part that is planned with: drivers, and kernels on `wasm`, take some for themselves. */
export const USABLE = 0.92;

/** Settings in which the choice is made; the same where there is none to make. */
export async function fitFeedForward(settings: Settings, model: ModelDescription, directory: string, services: PlanServices): Promise<Settings> {
  const { feedForward, scheme: { ranks } } = settings.decode;
  if (feedForward !== "auto") return withFeedForward(settings, feedForward);
  if (mustReplicate(settings, model)) {
    log("debug", "feed-forward blocks are on every rank: there are too many ranks to share them");
    return withFeedForward(settings, "replicated");
  }
  const obstacle = ranks === 1 ? "there is one rank" : await obstacleTo(settings, model, directory, services);
  log("debug", `feed-forward blocks are ${obstacle === null ? "on every rank" : `shared by ranks: ${obstacle}`}`);
  return withFeedForward(settings, obstacle === null ? "replicated" : "sharded");
}

/** What speaks against whole blocks on every rank; null: nothing. What is quickly known is asked first. */
async function obstacleTo(settings: Settings, model: ModelDescription, directory: string, services: PlanServices): Promise<string | null> {
  const onCpu = "on a CPU computing takes longer than sums do";
  if (isHostChoice(settings.device)) return onCpu;
  const more = moreBytesPerLayer(model.spec, settings.decode.scheme.ranks, settings.weights);
  if (more > MOST_MORE_BYTES) return `a layer would read ${formatBytes(more)} more`;
  const slots = planUnits(settings).flatMap(({ slots }) => slots);
  if (slots.some(({ remote }) => remote)) return "what devices of other hosts have left is not known here";
  const free = new Map<number | null, number>();
  try {
    for (const { gpu } of slots) if (!free.has(gpu)) free.set(gpu, await services.freeMemory(gpu) * USABLE);
  } catch (error) {
    return messageOf(error);
  }
  const device = await probePrefillDevice(settings, services);
  if (isHost(device.kind)) return onCpu;
  const plans = await planRanks(withFeedForward(settings, "replicated"), model, directory, planCache(settings, model, device), services);
  for (const [gpu, sharing] of Map.groupBy(plans, ({ slot }) => slot.gpu)) {
    const needed = sharing.reduce((sum, rank) => sum + wholeMemory(rank), 0);
    if (needed > free.get(gpu)!) return `a device would need ${formatBytes(needed)}, and has ${formatBytes(free.get(gpu)!)} left`;
  }
  return null;
}

function withFeedForward(settings: Settings, feedForward: "sharded" | "replicated"): Settings {
  const { decode } = settings;
  return { ...settings, decode: { ...decode, feedForward, scheme: { ...decode.scheme, feedForward } } };
}

/** Bytes of weights that one row of a layer reads more on a rank that has the block whole; of the layers, the kind there are most of. */
function moreBytesPerLayer(spec: ModelSpec, ranks: number, weights: Settings["weights"]): number {
  const { hiddenSize, denseWidth, moe, fp8Block, int4 } = spec;
  const routed = moe !== null && isMoeLayer(spec, spec.layers - 1);
  const width = routed ? moe.activeExperts * moe.expertWidth + moe.sharedWidth : denseWidth;
  const perWeight = weights === "q4" || int4 !== null ? 0.5 : weights === "q8" || fp8Block !== null ? 1 : 2;
  return 3 * hiddenSize * width * perWeight * (1 - 1 / ranks);
}
