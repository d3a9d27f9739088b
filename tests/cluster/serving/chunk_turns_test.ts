import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import type { PrefillChunk } from "../../../cluster/scheduler/state.ts";
import { ChunkTurns } from "../../../cluster/serving/chunk_turns.ts";

const LAYERS = 12;
const chunk = (count: number, start = 0) => ({ count, start }) as PrefillChunk;

/** One after whose turns it is known what steps and chunks take: 10 ms and 0.1 ms a token. Streams wait for 20 ms of a chunk and a step. */
function settled(): ChunkTurns {
  const turns = new ChunkTurns({ most: 4096, layers: LAYERS, maxStepMs: 30 });
  for (let i = 0; i < 20; i++) turns.stepped(100 * i, 100 * i + 10);
  for (const tokens of [64, 128, 256, 512, 900]) {
    const one = chunk(tokens);
    turns.begun(one, turns.next(one, false), 0);
    turns.done(tokens * 0.1);
  }
  return turns;
}

describe("turns of a chunk", () => {
  it("are all layers at once where nobody waits, or nothing is known yet", () => {
    const turns = new ChunkTurns({ most: 4096, layers: LAYERS, maxStepMs: undefined });
    assertEquals(turns.next(chunk(64), true), { first: 0, end: LAYERS });
    assertEquals(settled().next(chunk(900), false), { first: 0, end: LAYERS });
  });

  it("go on where the last one ended, and take the time of the step that they were computed before out of it", () => {
    const turns = settled();
    const one = chunk(900);
    let now = 0;
    const ends: number[] = [];
    for (let end = 0; end < LAYERS;) {
      const layers = turns.next(one, true);
      assertEquals(layers.first, end, "none is left out, and none comes twice");
      assertEquals(turns.tokensUnderWay, 0);
      turns.begun(one, layers, now);
      assertEquals(turns.tokensUnderWay, 900);
      // 7.5 ms a layer, and a step behind them.
      const ended = now + (layers.end - layers.first) * 7.5 + 10;
      turns.stepped(now + 1, ended);
      [now, end] = [ended, layers.end];
      ends.push(end);
      assertEquals(turns.ends(layers), end === LAYERS);
    }
    assertEquals(ends, [2, 4, 6, 8, 10, 12], "two layers fit 20 ms");
    // It took what was expected of it: the next ones are as large.
    assert(Math.abs(turns.tokensAt(0) - settled().tokensAt(0)) < 20, `${turns.tokensAt(0)} of ${settled().tokensAt(0)} tokens`);
  });

  it("are not counted where another chunk was under way meanwhile", () => {
    const turns = settled();
    const before = turns.tokensAt(0);
    const [one, other] = [chunk(900), chunk(900)];
    turns.begun(one, { first: 0, end: LAYERS }, 0);
    turns.begun(other, { first: 0, end: LAYERS }, 1);
    turns.done(180);
    assertEquals(turns.tokensAt(0), before);
    const third = chunk(900);
    turns.begun(third, { first: 0, end: LAYERS }, 0);
    turns.done(180);
    assert(turns.tokensAt(0) < before, "by itself it is");
  });

  it("forget what is lost, and know each chunk by itself", () => {
    const turns = settled();
    const [one, other] = [chunk(900), chunk(900)];
    turns.begun(one, { first: 0, end: 2 }, 0);
    turns.lost();
    assertEquals(turns.tokensUnderWay, 0);
    assertEquals(turns.next(other, true).first, 0);
    assertEquals(turns.next(one, true).first, 2);
    // A step by itself is a step.
    turns.stepped(0, 10);
    turns.begun(other, { first: 0, end: 3 }, 0);
    turns.begun(other, { first: 3, end: LAYERS }, 50);
    turns.done(90);
    assertEquals(turns.tokensUnderWay, 0);
  });
});
