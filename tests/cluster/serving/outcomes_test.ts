/**
 * What is told of requests that have ended: once of each, whatever it has ended with and whoever fails that is told.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { withWorkersHere } from "../../support/cluster.ts";
import { freeAgain, run, tokenRequest } from "../../support/token_requests.ts";

describe("outcomes of requests", () => {
  it("are told once to each who listens, whatever requests end with and whoever fails that is told", () =>
    withWorkersHere({}, async (cluster) => {
      const { engine } = cluster.served;
      const told: string[][] = [[], []];
      const ends = [
        cluster.onOutcome(({ reason }) => told[0].push(reason)),
        cluster.onOutcome(() => {
          throw new Error("a listener that fails");
        }),
        cluster.onOutcome(({ reason, generatedTokens }) => told[1].push(`${reason} ${generatedTokens}`)),
      ];
      const begun = [5, 6, 7];
      await run(cluster, tokenRequest(begun, { maxTokens: 3 }));
      await run(cluster, tokenRequest(begun, { maxTokens: 0 }));
      const failing = engine.generate(tokenRequest(begun), ({ kind }) => {
        if (kind === "token") throw new LatentmeshError("unsupported", "cannot be said");
      });
      await assertRejects(() => failing, LatentmeshError, "cannot be said");
      const controller = new AbortController();
      const left = engine.generate(tokenRequest(begun, { signal: controller.signal }), ({ kind }) => kind === "token" && controller.abort());
      await assertRejects(() => left, LatentmeshError, "cancelled");
      // What is cancelled before it arrives is no request.
      await assertRejects(() => run(cluster, tokenRequest(begun, { signal: AbortSignal.abort() })), LatentmeshError, "cancelled");
      assertEquals(told[0], ["length", "length", "unsupported", "cancelled"]);
      assertEquals(told[1].slice(0, 2), ["length 3", "length 0"]);
      for (const end of ends) end();
      await run(cluster, tokenRequest(begun, { maxTokens: 3 }));
      assertEquals(told.map(({ length }) => length), [4, 4]);
      await freeAgain(cluster);
    }));

  it("that cannot be begun are told of, too, and leave nothing behind", () =>
    withWorkersHere({}, async (cluster) => {
      const reasons: string[] = [];
      using _ = { [Symbol.dispose]: cluster.onOutcome(({ reason }) => reasons.push(reason)) };
      const constraint = {
        mask: new Uint32Array(0),
        accept() {},
        get settled(): Promise<void> {
          throw new LatentmeshError("unsupported", "no grammar");
        },
      };
      await assertRejects(() => run(cluster, tokenRequest([5, 6, 7], { constraint, resumed: [8] })), LatentmeshError, "no grammar");
      assertEquals(reasons, ["unsupported"]);
      await freeAgain(cluster);
    }));
});
