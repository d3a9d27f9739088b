import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import type { CellFacts } from "../../../core/registry/registry.ts";
import { NatsRegistry } from "../../../cluster/registry/nats_registry.ts";
import { openRegistry } from "../../../cluster/registry/open_registry.ts";
import { until } from "../../support/cluster.ts";
import { NATS_SERVER, NatsServer } from "../../support/nats_server.ts";

const FACTS: CellFacts = {
  id: "a.b",
  url: "http://127.0.0.1:1",
  version: "0",
  model: "tiny",
  created: 1,
  maxContext: 64,
  weights: null,
  fingerprint: null,
  state: "ready",
  load: { running: 0, waiting: 0 },
  spilled: [],
};
const TIMES = { beatMs: 50, pollMs: 20, ttlMs: 4000 };
const registryAt = (server: NatsServer) => new NatsRegistry({ servers: [server.url], bucket: "cells" }, TIMES);
const fail = (problem: string) => {
  throw new Error(problem);
};

describe("a registry at NATS", () => {
  const withServer = NATS_SERVER === null ? it.skip : it;

  withServer("has cells while they are registered, and refuses an id that a living one has", async () => {
    await using server = await NatsServer.start();
    const registry = registryAt(server);
    await using watch = await registry.watch(() => {});
    assertEquals(watch.cells, []);
    let state: CellFacts["state"] = "ready";
    const cell = await registry.register(() => ({ ...FACTS, state }), fail);
    await using other = await registry.register(() => ({ ...FACTS, id: "other" }), fail);
    void other;
    await until(() => watch.cells.length === 2);
    const { beat } = watch.cells.find(({ id }) => id === "a.b")!;
    await until(() => watch.cells.find(({ id }) => id === "a.b")!.beat > beat);
    // Whoever comes later is told of those that are there.
    await using late = await registry.watch(() => {});
    assertEquals(late.cells.map(({ id }) => id).toSorted(), ["a.b", "other"]);
    const error = await assertRejects(() => registry.register(() => FACTS, fail), LatentmeshError);
    assertEquals(error.param, "cell.id");
    state = "draining";
    cell.refresh();
    await cell.close();
    await until(() => watch.cells.length === 1);
  });

  withServer("keeps cells while its server is away, also where that comes back with nothing", async () => {
    await using server = await NatsServer.start();
    const registry = registryAt(server);
    await using cell = await registry.register(() => FACTS, fail);
    void cell;
    await using watch = await registry.watch(() => {});
    const gone: number[] = [];
    const checker = setInterval(() => watch.cells.length === 0 && gone.push(watch.age), 5);
    try {
      for (let time = 0; time < 2; time++) {
        const [{ beat }] = watch.cells;
        await server.kill();
        await until(() => watch.age > 200);
        assertEquals(watch.cells.length, 1);
        await server.start();
        // The beat that is new has gone into a new bucket.
        await until(() => watch.age < 100 && watch.cells[0]?.beat > beat + 2);
      }
    } finally {
      clearInterval(checker);
    }
    assertEquals(gone, [], "no cell was given up");
  });

  withServer("lets in only whom its server lets in, and says so", async () => {
    await using server = await NatsServer.start(["--user", "cells", "--pass", "a password"]);
    const place = (user: string) => ({ servers: [`nats://${user}127.0.0.1:${server.port}`], bucket: "cells" });
    for (const user of ["", "cells:wrong@"]) {
      const error = await assertRejects(() => new NatsRegistry(place(user)).watch(() => {}), LatentmeshError);
      assertEquals(error.code, "unauthorized");
      assertStringIncludes(error.message, "LATENTMESH_NATS_CREDS");
    }
    const registry = new NatsRegistry(place("cells:a%20password@"), TIMES);
    assertEquals(registry.name, `nats://127.0.0.1:${server.port}/cells`);
    await using watch = await registry.watch(() => {});
    assertEquals(watch.cells, []);
  });
});

describe("the name of a registry at NATS", () => {
  it("has servers and a bucket", async () => {
    assertEquals(openRegistry("nats://one:4222,two:4222/bucket").name, "nats://one:4222,nats://two:4222/bucket");
    assertEquals(openRegistry("tls://user:secret@one:4222").name, "tls://one:4222/latentmesh-cells");
    const error = await assertRejects(() => new NatsRegistry({ servers: ["nats://127.0.0.1:1"], bucket: "cells" }).watch(() => {}), LatentmeshError);
    assertEquals(error.code, "not_found");
  });
});
