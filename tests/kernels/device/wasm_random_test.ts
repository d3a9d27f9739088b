/**
 * Compiled kernels of random shapes: near what they are in float64, to the bit what they give each item and each row by itself, and within their memory.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { BLOCK_TOKENS } from "../../../core/cache/blocks.ts";
import { type MatrixLayout, matrixLayout, unpackRow, viewsOf } from "../../../core/model/packing.ts";
import { absorb } from "../../../kernels/absorb/absorb.ts";
import type { HostBuffer } from "../../../kernels/authoring/contract.ts";
import type { ByteDots } from "../../../kernels/authoring/wasm_program.ts";
import { byteDots } from "../../../kernels/device/wasm/byte_dots.ts";
import { type CacheConfig, cacheWidth, ropeOffset } from "../../../kernels/latent_cache/layout.ts";
import { latentDecode } from "../../../kernels/latent_decode/latent_decode.ts";
import { latentMerge } from "../../../kernels/latent_decode/latent_merge.ts";
import { partialWidth, splitCount } from "../../../kernels/latent_decode/splits.ts";
import { matmul } from "../../../kernels/linear/matmul.ts";
import { matvec } from "../../../kernels/linear/matvec.ts";
import { itemsPerInput, matrixOf, type Select } from "../../../kernels/linear/select.ts";
import { planOf } from "../../../kernels/moe_plan/layout.ts";
import { moePlan } from "../../../kernels/moe_plan/moe_plan.ts";
import { Random, SEED } from "../../../bench/support/random.ts";
import { assertClose } from "../../support/compare.ts";
import { packCache } from "../../support/latents.ts";
import { expectedOf, makeTask, type Task } from "../../support/linear_task.ts";
import { INT4_SCALINGS, randomMatrix } from "../../support/matrices.ts";
import { BLOCKS, type Compiled, runGuarded } from "../../support/wasm/guarded.ts";

/** Shapes of each kernel; more by hand. */
const CASES = Number(Deno.env.get("TEST_CASES") ?? 60);
/** A NaN that no kernel writes by accident. */
const POISON = 0x7fc0dead;
/** Ways to multiply bytes that are the same here. */
const DOTS = [...new Set<ByteDots>([byteDots(), null])];

const poison = (words: number) => new Uint32Array(words).fill(POISON);
const floats = (bytes: Uint8Array<ArrayBuffer>) => new Float32Array(bytes.buffer);
const bits = (bytes: Uint8Array<ArrayBuffer>) => new Uint32Array(bytes.buffer);

describe("WebAssembly kernels of random shapes", () => {
  const kernels = { "linear layers": linearCase, "absorbed queries": absorbCase, "decode attention": decodeCase };
  for (const [name, run] of Object.entries(kernels)) {
    it(`are right, do not depend on what is beside, and keep to their memory: ${name}`, () => {
      for (let i = 0; i < CASES; i++) run(new Random(SEED + 7919 * i), `case ${i}`);
    });
  }

  it("end in an error where they read what is not there: V8 checks it here, which it does not where workers have its flags", () => {
    const task = makeTask(new Random(), { layout: matrixLayout("f32", 320, 64), outputs: 32, rows: 8, select: { kind: "all" } });
    const { config, routes, x, weights: { packed: { data, scales } } } = task;
    const params = { items: 8, first_output: 0, part_outputs: 32, first_matrix: 0, matrices: 1 };
    const run = (weights: typeof data) =>
      Array.from({ length: BLOCKS }, () => {
        try {
          runGuarded(matvec, { ...config, itemsAtOnce: 1 }, { weights, scales, routes, x, y: poison(256) }, params, {
            module: "plain",
            byteDots: null,
            wide: true,
          });
          return 0;
        } catch (error) {
          return error instanceof WebAssembly.RuntimeError ? 1 : 2;
        }
      }).filter((result) => result !== 0);
    assertEquals([run(data), run(data.slice(0, -64))], [[], [1]], "a row ends sixteen floats before it should");
  });
});

function pick<T>(random: Random, from: readonly T[]): T {
  return from[random.below(from.length)];
}

function compiled(random: Random): Compiled {
  return { module: pick(random, ["fused", "plain"]), byteDots: pick(random, DOTS), wide: pick(random, [false, true]) };
}

function randomLayout(random: Random, columns: number): MatrixLayout {
  const format = pick(random, ["f32", "f16", "bf16", "fp8", "q8", "q4", "int4", "int8"] as const);
  const group = pick(random, [16, 32, 48, 64, 96, 128, 160, Math.ceil(columns / 32) * 32]);
  if (format === "int4") return matrixLayout(format, columns, group, pick(random, INT4_SCALINGS));
  return matrixLayout(format, columns, group, format === "int8" ? pick(random, ["f32", "f16", "f32-zero"]) : undefined);
}

function linearCase(random: Random, name: string): void {
  const columns = random.below(8) === 0 ? 256 + random.below(2400) : 1 + random.below(300);
  const outputs = pick(random, [1 + random.below(12), 1 + random.below(150), 120 + random.below(20), 250 + random.below(20)]);
  const rows = pick(random, [1, 2, 3, 4, 1 + random.below(20), 1 + random.below(60)]);
  const experts = 1 + random.below(6), active = 1 + random.below(experts);
  const select = pick<Select>(random, [{ kind: "all" }, { kind: "head", heads: experts }, { kind: "expert", perInput: pick(random, [1, active]) }]);
  const layout = randomLayout(random, columns);
  const task = makeTask(random, { layout, outputs, rows, select, input: pick(random, ["plain", "plain", "gated"]), experts, active });
  if (layout.format === "fp8") shareScales(task, pick(random, [1, 32, 128]));
  const { config, items, routes, matrices, weights: { packed } } = task;
  const { input, inputStride } = config;
  const used = input === "gated" ? 2 * columns : columns;
  // What lies between inputs is not read.
  task.x.forEach((_, i) => i % inputStride >= used && (task.x[i] = NaN));
  const x = task.x.subarray(0, task.x.length - inputStride + used);
  const how = compiled(random);
  const what = `${name}: ${layout.format} ${layout.scaling} of ${layout.group}, ${outputs} × ${columns}, ${
    JSON.stringify(select)
  }, ${rows} rows, ${input}`;
  const params = { items, first_output: 0, part_outputs: outputs, first_matrix: 0, matrices };
  const bound = { weights: packed.data, scales: packed.scales, routes, x };
  const y = () => poison(items * outputs);
  const decode = { ...config, itemsAtOnce: 1 as const };
  const all = bits(runGuarded(matvec, decode, { ...bound, y: y() }, params, how).y);

  const rounds = layout.format === "q8" || layout.format === "q4";
  // What is rounded may lie on the edge of two levels.
  assertClose(floats(new Uint8Array(all.buffer)), expectedOf(task, rounds), rounds ? input === "gated" ? 2e-2 : 2e-3 : 3e-5, what);
  for (const byteDots of DOTS) assertEquals(bits(runGuarded(matvec, decode, { ...bound, y: y() }, params, { ...how, byteDots }).y), all, what);

  const before = random.normals(items * outputs);
  const added = floats(runGuarded(matvec, { ...decode, adds: true }, { ...bound, y: before }, params, how).y);
  const sums = floats(new Uint8Array(all.buffer));
  assertEquals(added, before.map((value, i) => Math.fround(value + sums[i])), `${what}, added`);

  const partOf = (first: number, count: number) => ({
    weights: packed.data.slice(first * layout.rowBytes, (first + count) * layout.rowBytes),
    scales: packed.scales.slice(first * layout.scaleRowBytes, (first + count) * layout.scaleRowBytes),
  });
  const one = { items: 1, first_output: 0, first_matrix: 0, matrices: 1 };
  for (let i = 0; i < 3; i++) {
    const item = random.below(items), row = random.below(outputs);
    const [matrix, at] = [matrixOf(select, item, routes), Math.floor(item / itemsPerInput(select)) * inputStride];
    const alone = { ...decode, select: { kind: "all" } as const };
    const own = { routes, x: x.slice(at, at + used) };
    const product = runGuarded(
      matvec,
      alone,
      { ...partOf(matrix * outputs, outputs), ...own, y: poison(outputs) },
      { ...one, part_outputs: outputs },
      how,
    );
    assertEquals(bits(product.y), all.slice(item * outputs, (item + 1) * outputs), `${what}, item ${item} alone`);
    const single = { ...alone, outputs: 1 };
    const value = runGuarded(matvec, single, { ...partOf(matrix * outputs + row, 1), ...own, y: poison(1) }, { ...one, part_outputs: 1 }, how);
    assertEquals(bits(value.y)[0], all[item * outputs + row], `${what}, item ${item}, row ${row} alone`);
  }

  // Prefill adds int4 in another order.
  const same = layout.format !== "int4";
  if (select.kind === "all") {
    const [first, fewer] = [random.below(outputs), 1 + random.below(items)];
    const count = 1 + random.below(outputs - first);
    const part = { ...params, items: fewer, first_output: first, part_outputs: count };
    const written = all.map((word, i) => i < fewer * outputs && i % outputs >= first && i % outputs < first + count ? word : POISON);
    const bindings = { ...bound, ...partOf(first, count), y: y() };
    assertEquals(bits(runGuarded(matvec, decode, bindings, part, { ...how, most: { ...part, items } }).y), written, `${what}, rows from ${first} on`);
    const prefill = runGuarded(matmul, { ...config, select, plan: null }, bindings, part, { ...how, most: { ...part, items } });
    if (same) assertEquals(bits(prefill.y), written, `${what}, prefill, rows from ${first} on`);
  }
  if (select.kind === "expert") {
    const first = random.below(experts), count = 1 + random.below(experts - first);
    const bank = { ...params, first_matrix: first, matrices: count };
    const written = all.map((word, i) => routes[Math.floor(i / outputs)] >= first && routes[Math.floor(i / outputs)] < first + count ? word : POISON);
    const bindings = { ...bound, ...partOf(first * outputs, count * outputs), y: y() };
    assertEquals(bits(runGuarded(matvec, decode, bindings, bank, how).y), written, `${what}, experts from ${first} on`);
    const plan = { items, experts, tileItems: pick(random, [32, 64, 128]) };
    const planned = poison(planOf(plan).words);
    moePlan.reference(plan, { routes: hostBuffer(routes), plan: hostBuffer(planned) }, { items });
    const prefill = runGuarded(matmul, { ...config, select, plan }, { ...bindings, routes: planned }, bank, how);
    if (same) assertEquals(bits(prefill.y), written, `${what}, prefill, experts from ${first} on`);
  }
}

/** Gives rows of a block the same scales, as most checkpoints in fp8 do. */
function shareScales({ config: { layout, outputs }, weights: { packed, values } }: Task, block: number): void {
  const scales = new Float32Array(packed.scales.buffer), groups = layout.scaleRowBytes / 4;
  for (let row = 0; row < packed.rows; row++) {
    const from = row - row % outputs % block;
    scales.copyWithin(row * groups, from * groups, (from + 1) * groups);
    unpackRow(layout, viewsOf(packed.data), viewsOf(packed.scales), row, values.subarray(row * layout.columns, (row + 1) * layout.columns));
  }
}

function absorbCase(random: Random, name: string): void {
  const columns = 4 * (1 + random.below(60)), heads = 1 + random.below(6), rows = 1 + random.below(40);
  const layout = randomLayout(random, columns);
  if (layout.format === "int8" || layout.scaling === "f32-zero") return;
  const tokens = pick(random, [1, 2, 3, 4, 1 + random.below(12)]), items = tokens * heads, inputStride = rows + random.below(5);
  const queries = { dtype: "f32", keyWidth: columns, ropeWidth: 2 * random.below(6) } as const;
  const config = { layout, heads, rows, tokensAtOnce: 1, inputStride, queries };
  const { packed } = randomMatrix(random, layout, heads * rows);
  const x = random.normals(items * inputStride).map((value, i) => i % inputStride < rows ? value : NaN).subarray(0, (items - 1) * inputStride + rows);
  const how = compiled(random);
  const what = `${name}: ${layout.format} ${layout.scaling} of ${layout.group}, ${heads} heads, ${rows} × ${columns}, ${tokens} tokens`;
  const width = cacheWidth(queries);
  const bound = { weights: packed.data, scales: packed.scales };
  const all = bits(runGuarded(absorb, config, { ...bound, x, queries: poison(items * width) }, { items }, how).queries);
  const expected = hostBuffer(poison(items * width));
  absorb.reference(config, { weights: hostBuffer(packed.data), scales: hostBuffer(packed.scales), x: hostBuffer(x), queries: expected }, { items });
  const isKey = (_: unknown, i: number) => i % width < columns;
  assertClose(floats(new Uint8Array(all.buffer)).filter(isKey), expected.f32.filter(isKey), 3e-5, what);
  assert(all.every((word, i) => isKey(word, i) || word === POISON), what);
  const token = random.below(tokens), at = token * heads * inputStride;
  const own = x.slice(at, at + (heads - 1) * inputStride + rows);
  const alone = bits(runGuarded(absorb, config, { ...bound, x: own, queries: poison(heads * width) }, { items: heads }, how).queries);
  assertEquals(alone, all.slice(token * heads * width, (token + 1) * heads * width), `${what}, token ${token} alone`);
}

function decodeCase(random: Random, name: string): void {
  const shape = { keyWidth: 4 * (1 + random.below(30)), ropeWidth: 2 * (1 + random.below(8)) };
  const cache: CacheConfig = { dtype: pick(random, ["f32", "f16", "q8"]), ...shape, groups: randomGroups(random, shape.keyWidth) };
  const valueOffset = 4 * random.below(cache.keyWidth / 4), valueWidth = 4 * (1 + random.below((cache.keyWidth - valueOffset) / 4));
  const [heads, blocks, tableWords, width] = [1 + random.below(9), 6, 10, cacheWidth(cache)];
  const mostSplits = pick(random, [1, 2, 8, 48]);
  const splitting = { usualSplits: mostSplits, mostSplits, longTokens: 0, stripTokens: pick(random, [8, 16, 32, 64]) };
  const values = random.normals(blocks * BLOCK_TOKENS * width);
  const tables = Uint32Array.from({ length: tableWords }, () => random.below(blocks));
  const rowsAt = Array.from({ length: 1 + random.below(4) }, () => {
    const table = random.below(tableWords - 1);
    return { table, position: random.below((tableWords - table) * BLOCK_TOKENS) };
  });
  const rows = rowsAt.length;
  const isKey = (k: number) => k < cache.keyWidth || k >= ropeOffset(cache) && k < ropeOffset(cache) + cache.ropeWidth;
  const queries = random.normals(rows * heads * width).map((value, k) => isKey(k % width) ? value : 0);
  const config = { cache, slots: blocks * BLOCK_TOKENS, tableWords, heads, valueOffset, valueWidth, scale: pick(random, [0.3, 3]), ...splitting };
  const merged = { heads, valueWidth, output: "f32" as const, ...splitting };
  const step = Uint32Array.from(rowsAt.flatMap(({ position, table }) => [0, position, 0, table]));
  const how = compiled(random);
  const what = `${name}: ${JSON.stringify(config)}, ${JSON.stringify(rowsAt)}`;
  const packed = packCache(cache, values);
  const plain = { ...config, subgroups: 0, workgroupLimit: 16384 };
  const words = (rows: number) => rows * heads * mostSplits * partialWidth(valueWidth);
  const run = (first: number, rows: number, how: Compiled) => {
    const own = { queries: queries.slice(first * heads * width, (first + rows) * heads * width), step: step.slice(first * 4, (first + rows) * 4) };
    const splits = Math.max(...rowsAt.slice(first, first + rows).map(({ position }) => splitCount(position + 1, config)));
    const { partial } = runGuarded(latentDecode, plain, { ...own, cache: packed, tables, partial: poison(words(rows)) }, { rows, splits }, how);
    return bits(runGuarded(latentMerge, merged, { step: own.step, partial, y: poison(rows * heads * valueWidth) }, { rows }, how).y);
  };
  const all = run(0, rows, how);
  assertEquals(run(0, rows, { ...how, wide: !how.wide }), all, `${what}, however many heads at a time`);
  const [partial, y] = [hostBuffer(poison(words(rows))), hostBuffer(poison(rows * heads * valueWidth))];
  const buffers = { queries: hostBuffer(queries), cache: hostBuffer(packed), tables: hostBuffer(tables), step: hostBuffer(step), partial };
  latentDecode.reference(plain, buffers, { rows, splits: mostSplits });
  latentMerge.reference(merged, { step: buffers.step, partial, y }, { rows });
  assertClose(floats(new Uint8Array(all.buffer)), y.f32, 1e-4, what);
  const row = random.below(rows);
  assertEquals(run(row, 1, how), all.slice(row * heads * valueWidth, (row + 1) * heads * valueWidth), `${what}, row ${row} alone`);
}

/** Parts of some columns. */
function randomGroups(random: Random, columns: number): number[] {
  const groups: number[] = [];
  for (let left = columns; left > 0; left -= groups.at(-1)!) groups.push(1 + random.below(left));
  return groups;
}

/** Seen as references see it. */
function hostBuffer({ buffer, byteOffset, byteLength }: ArrayBufferView<ArrayBuffer>): HostBuffer {
  const [words, halves] = [Math.floor(byteLength / 4), Math.floor(byteLength / 2)];
  return {
    f32: new Float32Array(buffer, byteOffset, words),
    u32: new Uint32Array(buffer, byteOffset, words),
    u16: new Uint16Array(buffer, byteOffset, halves),
    f16: new Float16Array(buffer, byteOffset, halves),
    u8: new Uint8Array(buffer, byteOffset, byteLength),
  };
}
