/**
 * What the two layers of a feed-forward network have between them.
 *
 * @module
 */
import type { DeviceBuffer } from "../../kernels/device/device.ts";
import { type DecodeLayer, givesTo, type LinearBinding, type LinearContext } from "./linear_binding.ts";
import type { FeedForwardWeights } from "./weights.ts";

/** In decode on matrix units the first activates its gates and values and gives them in f16, where prefill has gates and values in f32. @param at where both are */
export function activatedBetween(
  context: Pick<LinearContext, "device" | "decodesOnUnits">,
  { gateUp, down }: FeedForwardWeights,
  { up, down: to, at }: { readonly up: DecodeLayer["binding"]; readonly down: DecodeLayer["binding"]; readonly at: DeviceBuffer },
): Pick<LinearBinding, "gives" | "rounded"> {
  const gives = givesTo(context, "activated", { matrix: gateUp, binding: up }, { matrix: down, binding: { ...to, input: "gated" } });
  return { gives, rounded: gives === "activated" ? { decode: at } : {} };
}
