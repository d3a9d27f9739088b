/**
 * Requests and replies: whatever becomes of one, whoever asked is told, and nobody is blamed for what could not be heard.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { Link } from "../../../core/wire/link.ts";
import { MAX_FRAME_BYTES } from "../../../core/wire/protocol.ts";
import { type Answer, RpcClient, serveRequests, WorkerError } from "../../../core/wire/rpc.ts";
import type { Socket } from "../../../core/wire/transport.ts";

/** Two ends of a connection in memory. @param delayMs until a frame arrives */
function linked(delayMs = 0): [Link, Link] {
  const ends = [0, 1].map((): Socket => ({ binaryType: "", onmessage: null, onclose: null, onerror: null, send() {}, close() {} }));
  ends.forEach((end, i) => {
    end.send = (data) => void setTimeout(() => ends[1 - i].onmessage?.({ data: data.slice() }), delayMs);
    end.close = (code = 1000, reason = "") => void setTimeout(() => ends[1 - i].onclose?.({ code, reason }), delayMs);
  });
  const [a, b] = ends.map((end, i) => new Link(end, { worker: `w${i}`, role: "worker" }));
  return [a, b];
}

async function withRpc(answer: (kind: string) => Promise<Answer>, test: (client: RpcClient) => Promise<void>, delayMs?: number): Promise<void> {
  const [near, far] = linked(delayMs);
  serveRequests(far, ({ kind }) => answer(kind));
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
});
