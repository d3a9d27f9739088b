/**
 * What the coordinator makes of a prompt on its way from a prefill unit to a decode group; workers of the test say when.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import type { Answer } from "../../../core/wire/rpc.ts";
import { until } from "../../../bench/support/until.ts";
import { launchFakeCluster, tokenAt } from "../../support/fake_workers.ts";

const PROMPT = [5, 6, 7];
const expected = (tokens: number) => Array.from({ length: tokens }, (_, i) => tokenAt(PROMPT.length + i));

const isDecode = ({ place }: { readonly place: string }) => place.startsWith("decode");

describe("a prompt that is handed over", () => {
  it("has its first token before decode ranks have their share, and its second after", async () => {
    const { promise: arrived, resolve: arrive } = Promise.withResolvers<Answer>();
    await using server = await launchFakeCluster({}, (_worker, { kind }) => kind === "handed" ? arrived : undefined);
    const tokens: number[] = [];
    const generation = (async () => {
      for await (const piece of server.cluster.generate({ prompt: PROMPT, maxTokens: 4, ignoreEos: true })) tokens.push(...piece.tokens);
    })();
    await until(() => tokens.length > 0 && server.workers.some(({ asked }) => asked.includes("handed")));
    // The unit computes others meanwhile.
    for await (const _ of server.cluster.generate({ prompt: [8, 9], maxTokens: 0 }));
    assertEquals(tokens, expected(1));
    assert(server.workers.filter(isDecode).every(({ asked }) => !asked.includes("step")));
    arrive({ kind: "done" });
    await generation;
    assertEquals(tokens, expected(4));
    server.cluster.checkIntegrity();
  });

  it("is handed over again where a decode rank was lost on the way, and its tokens so far stand", async () => {
    let lost = 0;
    await using server = await launchFakeCluster({}, (_worker, { kind }) => {
      if (kind !== "handed" || lost++ > 0) return undefined;
      server.worker("decode-0.1").kill();
      return new Promise(() => {});
    });
    const tokens: number[] = [];
    for await (const piece of server.cluster.generate({ prompt: PROMPT, maxTokens: 4, ignoreEos: true })) tokens.push(...piece.tokens);
    assertEquals(tokens, expected(4));
    assertEquals(server.worker("prefill-0.0").name, "prefill-0.0/1", "who handed over is not to blame");
    assertEquals(server.worker("decode-0.1").name, "decode-0.1/2");
    server.cluster.checkIntegrity();
  });

  it("may take longer than a deadline while its unit says that it gets on", async () => {
    await using server = await launchFakeCluster({ decode: { deadlineMs: 10 }, prefill: { chunk: 1 } }, (_worker, { kind }, onProgress) => {
      if (kind !== "handed") return undefined;
      return (async () => {
        for (let sign = 0; sign < 5; sign++) {
          await new Promise((resolve) => setTimeout(resolve, 500));
          onProgress();
        }
        return { kind: "done" };
      })();
    });
    const tokens: number[] = [];
    for await (const piece of server.cluster.generate({ prompt: PROMPT, maxTokens: 2, ignoreEos: true })) tokens.push(...piece.tokens);
    assertEquals(tokens, expected(2));
    assertEquals(server.workers.length, 3, "nobody was replaced");
  });
});
