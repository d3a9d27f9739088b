/**
 * Routing of many cells, simulated: the routing is a front's own code, cells are caches of prefixes with places that requests take for a while.
 *
 * @module
 */
import { FrontCells } from "../../cluster/front/front_cells.ts";
import { type CellRecord, writeRecord } from "../../core/registry/cell_record.ts";
import { CELL_BEAT } from "../../core/registry/membership.ts";
import { cellRecord } from "../support/cell_records.ts";
import { Random } from "../support/random.ts";

/** What is simulated. */
export interface SimulationOptions {
  readonly cells: number;
  readonly fronts: number;
  readonly requests: number;
  /** Prefixes that requests begin with, the i-th as often as 1 / i. */
  readonly prefixes: number;
  /** Prefixes that a cell keeps; the longest unused go. */
  readonly cached: number;
  /** Mean number of requests that a cell has at a time. */
  readonly load: number;
  /** How cells are chosen: as fronts do, or by chance. */
  readonly policy: "front" | "random";
}

/** What came of it. */
export interface SimulationResult {
  /** Of requests, those whose prefix their cell had. */
  readonly hitRate: number;
  /** The most requests that a cell had at a time, and the mean of all cells, at the end of every second. */
  readonly spread: number;
  /** Seconds of each decision. */
  readonly decisions: readonly number[];
  /** Bytes that a registry would be written and read in a second, reckoned from the size of records. */
  readonly registryBytes: number;
}

/** Milliseconds that a request takes: its prompt, unless its prefix is there, and its answer. */
const PREFIX_MS = 800;
const ANSWER_MS = 4000;

interface SimulatedCell {
  running: number;
  /** The longest unused first. */
  readonly held: Set<number>;
  readonly spilled: Set<string>;
}

/** Simulates. */
export function simulate({ cells: count, fronts: frontCount, requests, prefixes, cached, load, policy }: SimulationOptions): SimulationResult {
  const random = new Random(count + requests);
  const draw = zipf(prefixes, random);
  const cells = Array.from({ length: count }, (): SimulatedCell => ({ running: 0, held: new Set(), spilled: new Set() }));
  const fronts = Array.from({ length: frontCount }, () => new FrontCells());
  const ends: [time: number, end: () => void][] = [];
  const interval = ANSWER_MS / (load * count);
  const decisions: number[] = [];
  const spreads: number[] = [];
  let [hits, beat, recordBytes] = [0, 0, 0];
  let [nextBeat, nextLook] = [0, 1000];
  for (let i = 0, now = 0; i < requests; i++, now += interval) {
    while (ends.length > 0 && ends[0][0] <= now) pop(ends)[1]();
    if (now >= nextBeat) {
      nextBeat += CELL_BEAT;
      const records = cells.map((cell, at) => recordOf(cell, at, beat));
      beat++;
      recordBytes = records.reduce((sum, record) => sum + writeRecord(record).length, 0);
      for (const front of fronts) front.update(records);
    }
    if (now >= nextLook) {
      nextLook += 1000;
      if (now > 2 * ANSWER_MS) {
        spreads.push(Math.max(...cells.map(({ running }) => running)) / (cells.reduce((sum, { running }) => sum + running, 0) / count));
      }
    }
    const prefix = draw();
    const front = fronts[random.below(frontCount)];
    const request = { model: "m", prefixes: [`p${prefix}`], key: `p${prefix}` };
    const began = performance.now();
    const route = policy === "front" ? front.choose(request, { tried: NOBODY })! : null;
    decisions.push((performance.now() - began) / 1000);
    const at = route === null ? random.below(count) : Number(route.cell.id);
    const cell = cells[at];
    if (route?.reason === "spilled") cell.spilled.add(request.key);
    if (cell.spilled.size > 32) cell.spilled.delete(cell.spilled.values().next().value!);
    const hit = cell.held.delete(prefix);
    cell.held.add(prefix);
    if (cell.held.size > cached) cell.held.delete(cell.held.values().next().value!);
    if (hit) hits++;
    cell.running++;
    const ended = route === null ? () => {} : front.begin(route.cell, request.prefixes);
    push(ends, [now + (hit ? 0 : PREFIX_MS) + ANSWER_MS * (0.5 + random.below(1000) / 1000), () => {
      cell.running--;
      ended();
    }]);
  }
  if (spreads.length === 0) throw new Error(`${requests} requests end before ${count} cells are as busy as they become: give it more`);
  return {
    hitRate: hits / requests,
    spread: spreads.reduce((sum, spread) => sum + spread, 0) / spreads.length,
    decisions,
    registryBytes: recordBytes * (1 + frontCount) / (CELL_BEAT / 1000),
  };
}

const NOBODY: ReadonlySet<string> = new Set();

function recordOf({ running, spilled }: SimulatedCell, at: number, beat: number): CellRecord {
  return cellRecord({
    id: String(at),
    instance: "00000000-0000-0000-0000-000000000000",
    beat,
    url: `http://10.0.${at >> 8}.${at & 255}:8080`,
    model: "m",
    weights: "0".repeat(64),
    fingerprint: "0".repeat(32),
    load: { running, waiting: 0 },
    spilled: [...spilled],
  });
}

/** Numbers below `count`, i as often as 1 / (i + 1). */
function zipf(count: number, random: Random): () => number {
  const sums = new Float64Array(count);
  let sum = 0;
  for (let i = 0; i < count; i++) sums[i] = sum += 1 / (i + 1);
  return () => {
    const wanted = sum * random.below(1 << 30) / (1 << 30);
    let [low, high] = [0, count - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sums[middle] > wanted) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}

type Heap = [time: number, end: () => void][];

function push(heap: Heap, item: Heap[number]): void {
  heap.push(item);
  for (let i = heap.length - 1; i > 0;) {
    const parent = (i - 1) >> 1;
    if (heap[parent][0] <= heap[i][0]) return;
    [heap[parent], heap[i]] = [heap[i], heap[parent]];
    i = parent;
  }
}

function pop(heap: Heap): Heap[number] {
  const first = heap[0];
  const last = heap.pop()!;
  if (heap.length === 0) return first;
  heap[0] = last;
  for (let i = 0;;) {
    const [left, right] = [2 * i + 1, 2 * i + 2];
    let least = i;
    if (left < heap.length && heap[left][0] < heap[least][0]) least = left;
    if (right < heap.length && heap[right][0] < heap[least][0]) least = right;
    if (least === i) return first;
    [heap[least], heap[i]] = [heap[i], heap[least]];
    i = least;
  }
}
