import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { type HttpEngine, OpenModel } from "../../../cluster/http/open_model.ts";
import { ServerMetrics } from "../../../cluster/observe/metrics.ts";
import { noCluster } from "../../../cluster/observe/cluster_status.ts";
import type { TextWork } from "../../../cluster/text/text_work.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { scriptedModel } from "../../support/scripted_model.ts";

describe("a model behind an API", () => {
  it("gives back all that it has, though its processes cannot be closed in order, and listens no more", async () => {
    const listening = new Set<unknown>();
    const engine: HttpEngine = {
      served: await scriptedModel(() => ""),
      onOutcome: (listener) => {
        listening.add(listener);
        return () => void listening.delete(listener);
      },
      describe: () => Promise.resolve(noCluster("")),
    };
    const metrics = new ServerMetrics({
      loading: () => ({ ready: true, loadedBytes: 0, totalBytes: 0 }),
      uncaught: () => 0,
      cluster: engine.describe,
    });
    const text = { open: () => Promise.resolve(), close: () => Promise.reject(new Error("out of order")) } as unknown as TextWork;
    const open = await OpenModel.open(engine, { metrics, text });
    const { grammars } = open.loaded;
    const written = { json: JSON.stringify({ kind: "json", schema: { type: "object" }, strict: false }), params: { form: "x", tools: "y" } };
    const [constraint] = await grammars.constrain(written, { count: 1, client: "" });
    assertEquals(listening.size, 1);
    await assertRejects(() => open.close(), Error, "out of order");
    assertEquals(listening.size, 0);
    await assertRejects(() => grammars.constrain(written, { count: 1, client: "" }), LatentmeshError, "The server is stopping");
    constraint[Symbol.dispose]();
  });
});
