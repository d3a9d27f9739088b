/**
 * What is captured of one step stands for all steps of its kind.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { CpuDevice } from "../../../kernels/device/cpu_device.ts";
import type { Script } from "../../../kernels/device/device.ts";
import type { CachedSequence } from "../../../workers/forward/latent_cache.ts";
import { loadModel } from "../../support/fixtures.ts";
import { Random } from "../../../bench/support/random.ts";

/** Plays a script once: everything is recorded anew every time. */
class ForgetfulDevice extends CpuDevice {
  readonly #played = new WeakSet<Script>();
  captures = 0;

  override capture(record: () => void): Script {
    this.captures++;
    return super.capture(record);
  }

  override play(script: Script): boolean {
    if (this.#played.has(script)) return false;
    this.#played.add(script);
    return super.play(script);
  }
}

/** Counts captures. */
class CountingDevice extends CpuDevice {
  captures = 0;

  override capture(record: () => void): Script {
    this.captures++;
    return super.capture(record);
  }
}

async function run(device: ForgetfulDevice | CountingDevice): Promise<Float32Array[]> {
  const model = await loadModel(device, "deepseek-v2-lite-tiny", { limits: { decodeRows: 6, logitRows: 6 } });
  const random = new Random(3);
  const sequences: CachedSequence[] = [];
  const logits: Float32Array[] = [];
  for (let step = 0; step < 90; step++) {
    if (sequences.length < 3 && random.below(12) === 0 || sequences.length === 0) sequences.push(model.cache.open());
    // One of them grows faster than the others, several positions at a time: splits change while rows do not, and the other way round.
    const rows = sequences.flatMap((sequence, i) => {
      const count = i === 0 ? 1 + random.below(4) : random.below(2);
      model.cache.grow(sequence, count);
      return Array.from({ length: count }, () => ({ token: random.below(200), position: sequence.length++, sequence }));
    });
    model.record({ phase: "decode", rows });
    model.head.recordLogits("decode", 0, rows.length);
    logits.push((await model.head.logits(rows.length)).slice());
    if (sequences.length === 3 && random.below(40) === 0) model.cache.close(sequences.pop()!);
  }
  assert(sequences[0].length > 170, "sequences have many splits");
  return logits;
}

describe("scripts of decode steps", () => {
  it("give the bits of steps that are recorded anew, whatever tokens, positions and sequences they have", async () => {
    const [forgetful, counting] = [new ForgetfulDevice(), new CountingDevice()];
    assertEquals(await run(counting), await run(forgetful));
    assert(counting.captures < forgetful.captures / 3, `${counting.captures} of ${forgetful.captures}`);
  });
});
