import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Asked, SentTables } from "../../../cluster/serving/sent_tables.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { type Adjustment, LogitAdjuster, mergeAdjustments, UNADJUSTED } from "../../../core/sampling/adjustments.ts";
import { GREEDY, type SamplingParams } from "../../../core/sampling/params.ts";
import { decodeStep, encodeStep } from "../../../core/wire/queries.ts";
import { MAX_FRAME_BYTES } from "../../../core/wire/protocol.ts";
import { ADJUSTMENT_WORDS } from "../../../kernels/adjust_logits/adjust_logits.ts";
import { AdjustmentList, type RowAdjustments } from "../../../workers/forward/adjustment_list.ts";
import { LogitTables } from "../../../workers/roles/logit_tables.ts";
import { Random } from "../../../bench/support/random.ts";

const QUERY = { key: 1, position: 2, inverseTemperature: 1, plain: 1, adjusted: 1, draw: false };
const VOCABULARY = 4096;

/** What a device is given, in words, by token. */
function packed(list: RowAdjustments, row: number, room: number): number[][] {
  const parts: Uint32Array[] = [];
  list.write(row, (most) => {
    parts.push(new Uint32Array(Math.min(most, room) * ADJUSTMENT_WORDS));
    return parts.at(-1) as Uint32Array<ArrayBuffer>;
  });
  const words = parts.flatMap((part) => [...part]);
  return Array.from({ length: words.length / ADJUSTMENT_WORDS }, (_, i) => words.slice(i * ADJUSTMENT_WORDS, (i + 1) * ADJUSTMENT_WORDS))
    .sort((a, b) => a[1] - b[1]);
}

function expected(adjustments: Adjustment[], row: number): number[][] {
  const bits = (value: number) => new Uint32Array(Float32Array.of(value).buffer)[0];
  return adjustments.map(({ token, repetition, addend }) => [row, token, bits(repetition), bits(addend)]).sort((a, b) => a[1] - b[1]);
}

/** A rank as far as tables go. */
class Rank {
  readonly tables = new LogitTables();
  readonly lists = new Map<object, AdjustmentList>();
  words = 0;

  /** Everything travels as it would. */
  take(sent: SentTables, epoch: number, asked: readonly Asked[]) {
    const { tables, queries } = sent.refer(epoch, asked);
    for (const { payload, ...frame } of tables) {
      this.words += payload.length;
      this.tables.take(frame, new Uint8Array(payload.buffer));
    }
    const words = encodeStep([], queries);
    this.words += words.length;
    const decoded = decodeStep(new Uint8Array(words.buffer), 0, queries.length).queries;
    let list = new AdjustmentList();
    return decoded.map((query, i) => {
      const { by, ahead } = asked[i];
      if (ahead !== undefined) return this.tables.resolveAhead(query, list);
      list = by === null ? new AdjustmentList() : this.lists.get(by) ?? new AdjustmentList();
      if (by !== null) this.lists.set(by, list);
      return this.tables.resolve(query, list);
    });
  }
}

function randomParams(random: Random): SamplingParams {
  const logitBias = new Map(Array.from({ length: random.below(2) * random.below(50) }, () => [random.below(VOCABULARY), random.below(9) - 4]));
  const [presencePenalty, frequencyPenalty, repetitionPenalty] = [random.below(2), random.below(3) / 2, [1, 1.5][random.below(2)]];
  return { ...GREEDY, presencePenalty, frequencyPenalty, repetitionPenalty, logitBias };
}

describe("what queries refer to", () => {
  for (const seed of [1, 2, 3, 4]) {
    it(`is what each sequence asked for, through new epochs, placements and forgotten tables (seed ${seed})`, () => {
      const random = new Random(seed);
      const sent = new SentTables(300);
      const masks = Array.from({ length: 20 }, (_, i) => new Uint32Array(VOCABULARY / 32).fill(i % 15));
      let rank = new Rank();
      let epoch = 0;
      const sequences = Array.from({ length: 6 }, () => ({ adjuster: new LogitAdjuster(GREEDY, []), by: {} }));
      for (let step = 0; step < 150; step++) {
        if (random.below(40) === 0) {
          epoch++;
          rank = new Rank();
        }
        for (const sequence of sequences) {
          const dice = random.below(30);
          if (dice === 0) {
            const params = randomParams(random);
            const prompt = Array.from({ length: random.below(100) }, () => random.below(VOCABULARY));
            sequence.adjuster = new LogitAdjuster(params, prompt);
            sequence.by = {};
          } else if (dice === 1) sequence.by = {};
          // Long answers are computed again with all they have generated.
          for (let i = random.below(50) === 0 ? 200 : random.below(3); i > 0; i--) sequence.adjuster.add(random.below(VOCABULARY));
        }
        const asking = sequences.filter(() => random.below(3) > 0);
        const asked = asking.flatMap(({ adjuster, by: own }) => {
          const by = random.below(9) === 0 ? null : own;
          const query = () => ({ ...QUERY, adjustments: adjuster, mask: random.below(2) === 0 ? null : masks[random.below(20)] });
          const draft = Array.from({ length: random.below(2) * random.below(5) }, () => random.below(VOCABULARY));
          return [{ query: query(), by }, ...draft.map((_, i) => ({ query: query(), by, ahead: adjuster.after(draft.slice(0, i + 1)) }))];
        });
        const resolved = rank.take(sent, epoch, asked);
        resolved.forEach(({ adjustments, mask, ...query }, row) => {
          const { query: { adjustments: { base, log } }, ahead = [] }: Asked = asked[row];
          assertEquals(packed(adjustments, row, 1 + random.below(20)), expected(mergeAdjustments({ base, log: [...log, ...ahead] }), row));
          assertEquals([mask, query], [asked[row].query.mask, QUERY]);
        });
      }
    });
  }

  it("is sent once for all choices of a request, and then one change for each token", () => {
    const logitBias = new Map(Array.from({ length: 4000 }, (_, token) => [token, 1]));
    const params = { ...GREEDY, logitBias, frequencyPenalty: 0.5 };
    const prompt = [1, 2, 3];
    const mask = new Uint32Array(VOCABULARY / 32).fill(7);
    const choices = Array.from({ length: 100 }, () => ({ adjuster: new LogitAdjuster(params, prompt), by: {} }));
    const [sent, rank] = [new SentTables(), new Rank()];
    const step = () => {
      const before = rank.words;
      rank.take(sent, 1, choices.map(({ adjuster, by }) => ({ query: { ...QUERY, adjustments: adjuster, mask: mask.slice() }, by })));
      return rank.words - before;
    };
    const first = step();
    for (const { adjuster } of choices) adjuster.add(3);
    assertEquals([first - 100 * 10, step()], [4000 * 3 + mask.length, 100 * (10 + 3)]);
  });

  it("fits frames, however much it is", () => {
    const [sent, rank] = [new SentTables(), new Rank()];
    const asked = Array.from({ length: 4 }, (_, i) => {
      const logitBias = new Map(Array.from({ length: 129_280 }, (_, token) => [token, i + 1]));
      const adjustments = new LogitAdjuster({ ...GREEDY, logitBias, presencePenalty: 1 }, []);
      for (let token = 0; token < 500; token++) adjustments.add(token);
      return { query: { ...QUERY, adjustments, mask: null }, by: {} };
    });
    const { tables, queries } = sent.refer(1, asked);
    for (const { payload } of tables) assert(payload.byteLength < MAX_FRAME_BYTES / 2);
    assert(encodeStep([], queries).byteLength < MAX_FRAME_BYTES / 2);
    assertEquals(rank.take(new SentTables(), 1, asked).map(({ adjustments }) => adjustments.count), asked.map(() => 129_280));
  });

  it("is refused where it was never given", () => {
    const tables = new LogitTables();
    const frame = { ...QUERY, base: null, mask: null, changes: [] };
    assertThrows(() => tables.resolve({ ...frame, base: 3 }, new AdjustmentList()), LatentmeshError, "no table 3");
    assertThrows(() => tables.resolve({ ...frame, mask: 4 }, new AdjustmentList()), LatentmeshError, "no table 4");
    assertEquals(tables.resolve({ ...frame, base: 0 }, new AdjustmentList().follow(UNADJUSTED)).adjustments.count, 0);
  });
});
