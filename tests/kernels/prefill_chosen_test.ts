/**
 * Prefill where each row attends to what was chosen for it alone.
 */
import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import type { Kernel } from "../../kernels/authoring/contract.ts";
import { chosenBits } from "../../kernels/choose_tokens/choose_tokens.ts";
import type { Device } from "../../kernels/device/device.ts";
import { PREFILL_DIVISIONS, prefillDivides } from "../../kernels/mla_prefill/matrix_units.ts";
import type { MlaPrefillBindings, MlaPrefillParams } from "../../kernels/mla_prefill/mla_prefill.ts";
import { prefillChosen, type PrefillChosenConfig, prefillChosenMatrix } from "../../kernels/mla_prefill/prefill_chosen.ts";
import { prefillMerge } from "../../kernels/mla_prefill/prefill_merge.ts";
import { UNITS_WORKGROUP_BYTES } from "../../workers/load/plan_memory.ts";
import { Random } from "../../bench/support/random.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, itOnUnits, openTestDevice, unitsOf } from "../support/devices.ts";
import { tested } from "../support/extent.ts";
import { type Output, runKernel } from "../support/kernel.ts";
import { attend } from "../support/latents.ts";

/** Tokens of a prompt. */
const LENGTH = 130;

describeOnDevices("prefill of chosen tokens", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  for (
    const config of [
      { heads: 3, nopeWidth: 10, ropeWidth: 4, valueWidth: 19, scale: 0.4, split: 32 },
      { heads: 2, nopeWidth: 36, ropeWidth: 12, valueWidth: 72, scale: 0.2, split: 40 },
    ]
  ) {
    it(`prefills each row with what was chosen for it alone, in splits and chunks with the same bits, heads of ${config.nopeWidth} columns`, async () => {
      await prefillChosenRows(device, prefillChosen, { ...config, stride: chosenBits(LENGTH) }, {}, 1e-5);
    });
  }

  // Scores far below zero, which come to nothing in f16 unless a row's reference is found where something is chosen for it first.
  // Splits of 40 begin within a word of bits.
  const kinds: readonly [offset: number, split: number][] = [[0, 64], [-60, 64], [0, 40]];
  for (const [offset, split] of tested("splits of chosen tokens", kinds, ([offset, split]) => kind !== "cpu" || offset !== 0 || split === 40)) {
    const config = { heads: 2, nopeWidth: 32, ropeWidth: 16, valueWidth: 32, scale: 0.2, split, stride: chosenBits(LENGTH) };
    itOnUnits(kind)(`prefills so on matrix units, however they are divided, scores around ${offset}, splits of ${split}`, async () => {
      for (const division of PREFILL_DIVISIONS.filter((division) => prefillDivides(config, division, UNITS_WORKGROUP_BYTES))) {
        await prefillChosenRows(unitsOf(device), prefillChosenMatrix, { ...config, division }, { halves: true, offset }, 2e-3);
      }
    });
  }
});

/** Prefills all at once, which must be right, and chunk by chunk, which must be the same. @param options.offset what is added to all scores */
async function prefillChosenRows<C extends PrefillChosenConfig>(
  device: Device,
  kernel: Kernel<C, MlaPrefillBindings | "chosen", MlaPrefillParams>,
  config: C,
  { halves = false, offset = 0 }: { readonly halves?: boolean; readonly offset?: number },
  tolerance: number,
): Promise<void> {
  const { heads, nopeWidth, ropeWidth, valueWidth, scale, split, stride } = config;
  const random = new Random();
  const width = nopeWidth + ropeWidth;
  const [q, keys] = [random.normals(LENGTH * heads * width), random.normals(LENGTH * heads * nopeWidth)];
  const [ropeKeys, values] = [random.normals(LENGTH * ropeWidth), random.normals(LENGTH * heads * valueWidth)];
  for (let key = 0; offset !== 0 && key < LENGTH; key++) ropeKeys[(key + 1) * ropeWidth - 1] = offset / scale;
  for (let item = 0; offset !== 0 && item < LENGTH * heads; item++) q[(item + 1) * width - 1] = 1;
  // Of some splits nothing is chosen, of some one token is; bits beyond a row's position are set and must not count.
  const sees = (row: number, at: number) => at === row || (row % 3 === 0 ? at < 5 : row % 3 === 1 ? at % 7 === row % 7 : at === 64);
  const chosen = Uint32Array.from({ length: LENGTH * stride }, (_, word) => {
    const [row, first] = [Math.floor(word / stride), word % stride * 32];
    return Array.from({ length: 32 }, (_, i) => sees(row, first + i) || first + i > row ? 2 ** i : 0).reduce((a, b) => a + b);
  });
  const stored = (of: Float32Array<ArrayBuffer>) => halves ? Float16Array.from(of) : of;
  const rows = async (first: number, count: number) => {
    const end = first + count;
    const splits = Math.ceil(end / split);
    const params = { rows: count, first_position: first, start: 0, end, split_rows: splits * count };
    const parts: Record<"state" | "out", Output> = await runKernel(device, kernel, config, {
      q: q.slice(first * heads * width, end * heads * width),
      keys: stored(keys),
      rope_keys: stored(ropeKeys),
      values: stored(values),
      state: { poison: splits * count * heads * 2 },
      out: { poison: splits * count * heads * valueWidth },
      chosen: chosen.slice(first * stride, end * stride),
    }, { ...params, first: 0 });
    const merged = await runKernel(device, prefillMerge, { heads, valueWidth, split, powersOfTwo: halves }, {
      split_state: parts.state.f32,
      split_out: parts.out.f32,
      state: { poison: count * heads * 2 },
      out: { poison: count * heads * valueWidth },
    }, { ...params, last: 1 });
    return merged.out.f32;
  };
  const whole = await rows(0, LENGTH);
  const expected = Array.from({ length: LENGTH * heads }, (_, item) => {
    const [row, head] = [Math.floor(item / heads), item % heads];
    const at = Array.from({ length: row + 1 }, (_, key) => key).filter((key) => sees(row, key));
    const scores = Float64Array.from(at, (key) => {
      let score = 0;
      for (let d = 0; d < nopeWidth; d++) score += q[item * width + d] * keys[(key * heads + head) * nopeWidth + d];
      for (let d = 0; d < ropeWidth; d++) score += q[item * width + nopeWidth + d] * ropeKeys[key * ropeWidth + d];
      return score * scale;
    });
    return attend(scores, values, at.map((key) => (key * heads + head) * valueWidth), valueWidth);
  }).flat();
  assertClose(whole, expected, tolerance, "prefill");
  for (const [first, count] of [[0, 1], [1, 60], [61, 69]]) {
    assertEquals(
      await rows(first, count),
      whole.slice(first * heads * valueWidth, (first + count) * heads * valueWidth),
      `${count} rows at ${first}`,
    );
  }
}
