/**
 * Requests and replies: whatever becomes of one, whoever asked is told, and nobody is blamed for what could not be heard.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { MAX_FRAME_BYTES } from "../../../core/wire/protocol.ts";
import { type Answer, type OnProgress, RpcClient, serveRequests, WorkerError } from "../../../core/wire/rpc.ts";
import { linked } from "../../support/links.ts";

async function withRpc(
  answer: (kind: string, onProgress: OnProgress) => Promise<Answer>,
  test: (client: RpcClient) => Promise<void>,
  delayMs?: number,
): Promise<void> {
  const [near, far] = linked(delayMs);
  serveRequests(far, ({ kind }, _payload, onProgress) => answer(kind, onProgress));
  await test(new RpcClient(near, () => {}));
  near.close();
  await far.closed;
}

const done = () => Promise.resolve<Answer>({ kind: "done" });

describe("a request", () => {
  it("that is too large for a frame fails, and the next one is answered", () =>
    withRpc(done, async (client) => {
      const payload = new Uint8Array(MAX_FRAME_BYTES + 1);
      const error = await assertRejects(() => client.call("probe", { epoch: 1 }, "done", { payload, deadlineMs: 1000 }), LatentmeshError, "exceeds");
      assertEquals(error.code, "internal");
      assertEquals((await client.call("probe", { epoch: 1 }, "done")).reply.kind, "done");
    }));

  it("whose answer is too large for a frame, or is not one, fails by name", async () => {
    const answers: Answer[] = [{ kind: "row", payload: new Uint8Array(MAX_FRAME_BYTES + 1) }, { kind: "done" }];
    await withRpc(() => Promise.resolve(answers.shift()!), async (client) => {
      await assertRejects(() => client.call("row", { epoch: 1, index: 0 }, "row"), WorkerError, "exceeds");
      await assertRejects(() => client.call("row", { epoch: 1, index: 0 }, "row"), LatentmeshError, 'answered "row" with "done"');
    });
  });

  it("is not blamed for time in which this process could not hear", () =>
    withRpc(done, async (client) => {
      const answered = client.call("probe", { epoch: 1 }, "done", { deadlineMs: 150 });
      await new Promise((resolve) => setTimeout(resolve, 0));
      for (const until = performance.now() + 400; performance.now() < until;);
      assertEquals((await answered).reply.kind, "done");
    }, 40));

  it("that is not answered names who was silent", () =>
    withRpc(() => new Promise(() => {}), async (client) => {
      const error = await assertRejects(() => client.call("probe", { epoch: 1 }, "done", { deadlineMs: 30 }), WorkerError, "within 30 ms");
      assertEquals([error.code, error.silent], ["timeout", "w0"]);
    }));

  it("may take any time while the worker says that it gets on, and has a whole deadline from the last it said", () => {
    let answer: Promise<Answer> = Promise.resolve({ kind: "done" });
    return withRpc(async (_kind, onProgress) => {
      for (let sign = 0; sign < 6; sign++) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        onProgress();
      }
      return await answer;
    }, async (client) => {
      assertEquals((await client.call("probe", { epoch: 1 }, "done", { deadlineMs: 300 })).reply.kind, "done");
      answer = new Promise(() => {});
      const asked = performance.now();
      await assertRejects(() => client.call("probe", { epoch: 1 }, "done", { deadlineMs: 300 }), WorkerError, "within 300 ms");
      assert(performance.now() - asked >= 850, "the deadline began anew with every sign");
    });
  });
});
