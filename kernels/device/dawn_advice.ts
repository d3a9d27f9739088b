/**
 * Whether this machine would gain by Dawn. WebGPU in Deno cannot tell whether a GPU has matrix units, so what is known of its family decides, and in doubt nothing is
 * said.
 *
 * @module
 */

import { INSTALL_DAWN } from "../../core/dawn_package.ts";

/** What an adapter says of itself, as far as it is looked at. */
export interface AdapterFacts {
  /** PCI vendor, in decimal. */
  readonly vendor: string;
  /** The card's name. */
  readonly description: string;
  readonly subgroupMinSize?: number;
  readonly subgroupMaxSize?: number;
}

const NVIDIA = String(0x10de);

/**
 * NVIDIA's cards since Turing that have tensor cores. Kernels for matrix units take products of 16 × 16 × 16 in subgroups of exactly 32 threads (`hasMatrixUnits`),
 * which AMD's (32 to 64 threads), Intel's (8 to 32) and Apple's (8 × 8 × 8) do not offer, with Dawn or without.
 */
const WITH_TENSOR_CORES =
  /\b(?:RTX|T4G?|A(?:2|10G?|10M|16|30|40|100|800)|L(?:2|4|20|40S?|40G)|H(?:20|100|200|800)|G(?:H200|B200|B300|B10)|B(?:100|200|300))\b/;

/** Measured with V2-Lite's sizes on H100s and H200s, see bench/NOTES.md. */
const LOSS = "prompts take 3 to 5 times as long, and tokens 1.3 times";

/**
 * What Dawn would give, and how to get it; undefined where it would give nothing.
 *
 * @param os as `Deno.build.os` has it: elsewhere than on Linux, Dawn is not Vulkan
 */
export function dawnAdvice({ vendor, description, subgroupMinSize, subgroupMaxSize }: AdapterFacts, os: string): string | undefined {
  const helps = os === "linux" && vendor === NVIDIA && subgroupMinSize === 32 && subgroupMaxSize === 32 && WITH_TENSOR_CORES.test(description);
  return helps ? `the matrix units of ${description} are not used: ${LOSS}; Dawn brings them: ${INSTALL_DAWN}` : undefined;
}
