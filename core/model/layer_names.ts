/**
 * What checkpoints call the tensors of a layer.
 *
 * @module
 */
import type { ModelSpec } from "./spec.ts";

/** What the names of a layer's tensors begin with, or are but for `.weight`. */
export interface LayerNames {
  readonly attention: string;
  readonly attentionNorm: string;
  /** Of the dense block and of experts, which are never in the same layer but with shortcuts. */
  readonly feedForwardNorm: string;
  readonly dense: string;
  /** Experts are `experts.N` in it. */
  readonly moe: string;
  readonly router: string;
}

/** Names of layer `index`: of a pair with a shortcut, files have one layer with two of everything but experts. */
export function layerNames({ tensorPrefix, moe }: Pick<ModelSpec, "tensorPrefix" | "moe">, index: number): LayerNames {
  const paired = moe?.shortcut === true;
  const layer = `${tensorPrefix}model.layers.${paired ? Math.floor(index / 2) : index}`;
  const own = (name: string) => paired ? `${layer}.${name}.${index % 2}` : `${layer}.${name}`;
  return {
    attention: own("self_attn"),
    attentionNorm: own("input_layernorm"),
    feedForwardNorm: own("post_attention_layernorm"),
    dense: paired ? own("mlps") : `${layer}.mlp`,
    moe: `${layer}.mlp`,
    router: `${layer}.mlp.${paired ? "router.classifier" : "gate"}`,
  };
}

/** Name of what is added to scores when experts are chosen. */
export function correctionBiasName(names: LayerNames): string {
  return `${names.router.replace(/\.classifier$/, "")}.e_score_correction_bias`;
}
