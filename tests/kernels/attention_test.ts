import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import type { Device } from "../../kernels/device/device.ts";
import { dividePrefill, mlaPrefillMatrix, PREFILL_DIVISIONS, prefillDivides } from "../../kernels/mla_prefill/matrix_units.ts";
import { mlaPrefill, type MlaPrefillBindings, type MlaPrefillConfig, type MlaPrefillParams } from "../../kernels/mla_prefill/mla_prefill.ts";
import { prefillMerge } from "../../kernels/mla_prefill/prefill_merge.ts";
import type { Kernel } from "../../kernels/authoring/contract.ts";
import { UNITS_WORKGROUP_BYTES } from "../../workers/load/plan_memory.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, itOnUnits, openTestDevice, unitsOf } from "../support/devices.ts";
import { tested } from "../support/extent.ts";
import { type Output, runKernel } from "../support/kernel.ts";
import { attend } from "../support/latents.ts";
import { Random } from "../../bench/support/random.ts";

describeOnDevices("latent attention", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  for (
    const config of [
      { heads: 3, nopeWidth: 10, ropeWidth: 4, valueWidth: 19, scale: 0.4, split: 32 },
      // Whole quads, of more columns than are multiplied at a time, and more values than threads that share a query.
      { heads: 2, nopeWidth: 36, ropeWidth: 12, valueWidth: 72, scale: 0.2, split: 40 },
    ]
  ) {
    it(`prefills in splits and chunks with the same bits, and exactly, heads of ${config.nopeWidth} + ${config.ropeWidth} columns`, async () => {
      await prefillInChunks(device, mlaPrefill, config, { chunks: [1, 7, 33, 28, 61] }, 1e-5);
    });
  }

  const onUnits: readonly (Omit<MlaPrefillConfig, "split"> & { readonly growth?: number; readonly sink?: number })[] = [
    { heads: 2, nopeWidth: 32, ropeWidth: 16, valueWidth: 32, scale: 0.2 },
    // Eights of columns that threads do not share evenly.
    { heads: 1, nopeWidth: 72, ropeWidth: 8, valueWidth: 96, scale: 0.2 },
    { heads: 1, nopeWidth: 128, ropeWidth: 64, valueWidth: 128, scale: 0.1 },
    { heads: 1, nopeWidth: 192, ropeWidth: 64, valueWidth: 256, scale: 0.1 },
    // Scores that grow with the position, so that the reference has to follow them.
    { heads: 2, nopeWidth: 32, ropeWidth: 16, valueWidth: 32, scale: 0.2, growth: 60 },
    // A first token that draws most of the attention and has no values, so that the weights of the others must be exact.
    { heads: 2, nopeWidth: 32, ropeWidth: 16, valueWidth: 32, scale: 0.2, sink: 10 },
  ];
  const stays = (_: unknown, index: number) => index === 1 || index === 4;
  for (const { growth = 0, sink = 0, ...shape } of kind === "cpu" ? tested("shapes on matrix units", onUnits, stays) : onUnits) {
    const config = { ...shape, split: 64 };
    const name = `heads of ${config.nopeWidth} + ${config.ropeWidth} columns${growth > 0 ? ", scores growing" : sink > 0 ? ", with a sink" : ""}`;
    const divisions = PREFILL_DIVISIONS.filter((division) => prefillDivides(config, division, UNITS_WORKGROUP_BYTES));
    assertEquals(divisions[0], dividePrefill(config, UNITS_WORKGROUP_BYTES) ?? undefined);
    itOnUnits(kind)(`prefills in splits and chunks with the same bits on matrix units, ${name}, however it is divided`, async () => {
      const halves = { chunks: [1, 70, 96, 13], growth, sink, halves: true };
      for (const division of divisions) await prefillInChunks(unitsOf(device), mlaPrefillMatrix, { ...config, division }, halves, 2e-3);
    });
  }
});

/**
 * Prefills all at once, which must be right, and chunk by chunk, which must be the same.
 *
 * `growth`: how far scores grow along the sequence; `sink`: how far the first is above the others.
 */
async function prefillInChunks<C extends MlaPrefillConfig>(
  device: Device,
  kernel: Kernel<C, MlaPrefillBindings, MlaPrefillParams>,
  config: C,
  { chunks, growth = 0, sink = 0, halves = false }: {
    readonly chunks: readonly number[];
    readonly growth?: number;
    readonly sink?: number;
    /** Whether keys and values are in f16. */
    readonly halves?: boolean;
  },
  tolerance: number,
): Promise<void> {
  const { heads, nopeWidth, ropeWidth, valueWidth, scale, split } = config;
  const random = new Random();
  const length = chunks.reduce((sum, chunk) => sum + chunk);
  const width = nopeWidth + ropeWidth;
  const q = random.normals(length * heads * width);
  const keys = random.normals(length * heads * nopeWidth);
  const ropeKeys = random.normals(length * ropeWidth);
  const values = random.normals(length * heads * valueWidth);
  for (let key = 0; growth > 0 && key < length; key++) {
    ropeKeys[(key + 1) * ropeWidth - 1] = Math.round(growth / scale * key / length); // as f16 has it
    for (let head = 0; head < heads; head++) q[(key * heads + head + 1) * width - 1] = head;
  }
  if (sink > 0) {
    for (let key = 0; key < length; key++) ropeKeys[(key + 1) * ropeWidth - 1] = key === 0 ? sink / scale : 0;
    for (let item = 0; item < length * heads; item++) q[(item + 1) * width - 1] = 1;
    values.fill(0, 0, heads * valueWidth);
  }
  const cut = (of: Float32Array<ArrayBuffer>, width: number, from: number, to: number) => {
    const part = of.slice(from * width, to * width);
    return halves ? Float16Array.from(part) : part;
  };
  /** @param together splits that are attended to at once @param apart whether their keys are the only ones there */
  const rows = async (first: number, count: number, together: number, apart: boolean) => {
    let state: Output | null = null;
    let out: Output | null = null;
    const end = first + count;
    for (let start = 0; start < end; start += together * split) {
      const stop = Math.min(end, start + together * split);
      const [from, to] = apart ? [start, stop] : [0, length];
      const splits = Math.ceil((stop - start) / split);
      const split_rows = splits * count;
      const parts: Record<"state" | "out", Output> = await runKernel(device, kernel, config, {
        q: q.slice(first * heads * width, end * heads * width),
        keys: cut(keys, heads * nopeWidth, from, to),
        rope_keys: cut(ropeKeys, ropeWidth, from, to),
        values: cut(values, heads * valueWidth, from, to),
        state: { poison: split_rows * heads * 2 },
        out: { poison: split_rows * heads * valueWidth },
      }, { rows: count, first_position: first, first: start - from, end: stop - from, start, split_rows });
      const merged: Record<"state" | "out", Output> = await runKernel(device, prefillMerge, { heads, valueWidth, split, powersOfTwo: halves }, {
        split_state: parts.state.f32,
        split_out: parts.out.f32,
        state: state?.f32 ?? { poison: count * heads * 2 },
        out: out?.f32 ?? { poison: count * heads * valueWidth },
      }, { rows: count, first_position: first, start, end: stop, last: stop === end ? 1 : 0, split_rows });
      ({ state, out } = merged);
    }
    return out!.f32;
  };
  const whole = await rows(0, length, Infinity, false);
  const expected = Array.from({ length: length * heads }, (_, item) => {
    const [row, head] = [Math.floor(item / heads), item % heads];
    const scores = Float64Array.from({ length: row + 1 }, (_, key) => {
      let score = 0;
      for (let d = 0; d < nopeWidth; d++) score += q[item * width + d] * keys[(key * heads + head) * nopeWidth + d];
      for (let d = 0; d < ropeWidth; d++) score += q[item * width + nopeWidth + d] * ropeKeys[key * ropeWidth + d];
      return score * scale;
    });
    return attend(scores, values, Array.from(scores, (_, key) => (key * heads + head) * valueWidth), valueWidth);
  }).flat();
  assertClose(whole, expected, tolerance, `prefill by ${JSON.stringify(config)}`);
  let done = 0;
  for (const [i, chunk] of chunks.entries()) {
    const part = await rows(done, chunk, 1 + i % 3, i % 2 === 0);
    assertEquals(part, whole.slice(done * heads * valueWidth, (done + chunk) * heads * valueWidth), `chunk of ${chunk} at ${done}`);
    done += chunk;
  }
}
