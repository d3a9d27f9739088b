/**
 * Whatever a server breaks off or lies about: never a wrong file, and next to no byte twice.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { Random } from "../../../bench/support/random.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import type { Fault } from "../../support/hub/faults.ts";
import { assertWhole, HubUser } from "../../support/hub/hub_user.ts";
import { shardedModel } from "../../support/hub/models.ts";

const RUNS = 200;

/** Of the largest file. */
const MOST_BYTES = 150_000;

/** What goes wrong next. @param lies whether contents are wrong, too: what came of these has to come again */
function drawFault(random: Random, lies: boolean): Fault {
  const after = Math.floor(random.next() ** 2 * MOST_BYTES);
  const by = random.below(2000) - 1000;
  const status = (status: number): Fault => ({ kind: "status", status, headers: random.next() < 0.5 ? { "retry-after": "1" } : {} });
  const faults: readonly (() => Fault)[] = [
    () => ({ kind: "break", after }),
    () => ({ kind: "break", after: 0 }),
    () => ({ kind: "short", after }),
    // Waited for, so that there are few of it.
    () => random.next() < 0.8 ? { kind: "break", after } : { kind: "stall", after },
    () => status(429),
    () => status(500 + random.below(5)),
    () => ({ kind: "redirect", to: "self" }),
    () => ({ kind: "other range", by }),
    () => ({ kind: "other size", by }),
    () => ({ kind: "unranged" }),
    ...(lies ? [() => ({ kind: "corrupt", at: after } as const), () => ({ kind: "corrupt", at: after } as const)] : []),
  ];
  return faults[random.below(faults.length)]();
}

describe("200 random servers", () => {
  it("break off and lie, and what is fetched is right all the same, no byte in ten of it twice", async () => {
    const honest = { faults: 0, needed: 0, sent: 0, fetched: 0 };
    const lying = { faults: 0, needed: 0, sent: 0, fetched: 0 };
    let refused = 0;
    const meet = async (seed: number): Promise<void> => {
      const random = new Random(seed);
      const model = shardedModel(Array.from({ length: 1 + random.below(3) }, () => random.bytes(1 + random.below(MOST_BYTES))));
      const lies = seed % 2 === 0;
      const counts = lies ? lying : honest;
      let left = random.below(12);
      const fault = () => {
        if (left === 0 || random.next() < 0.3) return null;
        left--;
        counts.faults++;
        return drawFault(random, lies);
      };
      await using user = await HubUser.of({ models: [model], fault }, { silentMs: 600 });
      // A server that is refused is tried again, as its user would.
      for (let directory: string | null = null; directory === null;) {
        try {
          const pulled = await user.pull("test/sharded");
          directory = pulled.directory;
          counts.needed += pulled.bytes;
          counts.fetched += pulled.fetchedBytes;
          await assertWhole(directory, model);
        } catch (error) {
          assert(error instanceof LatentmeshError, `seed ${seed}: ${error}`);
          refused++;
        }
        await user.checkBlobs("test/sharded");
      }
      counts.sent += user.hub.sentBytes;
    };
    let next = 1;
    // Several at a time, since most of it is waiting.
    await Promise.all(Array.from({ length: 4 }, async () => {
      while (next <= RUNS) await meet(next++);
    }));
    const said = ({ faults, needed, sent, fetched }: typeof honest) =>
      `${faults} faults, ${needed} bytes needed, ${fetched} fetched, ${sent} given out`;
    console.log(`honest about contents: ${said(honest)}; not: ${said(lying)}; ${refused} refused`);
    assert(honest.faults > 3 * RUNS / 2 && lying.faults > 3 * RUNS / 2);
    assert(honest.sent <= 1.1 * honest.needed, said(honest));
    // Of a file with one wrong byte all of it comes again.
    assert(lying.sent > lying.needed, said(lying));
    assertEquals(honest.fetched >= honest.needed, true);
  });
});
