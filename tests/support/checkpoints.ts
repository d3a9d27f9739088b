/**
 * Checkpoints that travel with the project: their names, and where they are.
 *
 * @module
 */
import { ROOT } from "../../bench/support/root.ts";

/** Checkpoints with golden outputs from transformers; of sparse attention, see `tests/golden/deepseek-v32-tiny/make.py`. */
export const FIXTURES = [
  "deepseek-v2-lite-tiny",
  "deepseek-v3-tiny",
  "deepseek-v3-fp8-tiny",
  "glm4-moe-lite-tiny",
  "mistral4-tiny",
  "mistral3-tiny",
  "youtu-tiny",
  "minicpm3-tiny",
  "minicpm3-longrope-tiny",
  "longcat-flash-tiny",
  "deepseek-v32-tiny",
  "glm-moe-dsa-tiny",
  "axk1-tiny",
  "tiny-mla",
] as const;
export type Fixture = (typeof FIXTURES)[number];

/** Those whose queries attend to the 24 tokens that go best with them. */
export const SPARSE_FIXTURES = ["deepseek-v32-tiny", "glm-moe-dsa-tiny"] as const satisfies readonly Fixture[];

/** Directory of a checkpoint. */
export function fixtureDirectory(name: Fixture): string {
  return name === "tiny-mla" ? `${ROOT}/models/tiny-mla` : `${ROOT}/tests/golden/${name}`;
}
