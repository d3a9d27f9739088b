import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { cellFacts } from "../../../bench/support/cell_records.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { NatsBucket } from "../../../cluster/registry/nats_bucket.ts";
import { NatsRegistry } from "../../../cluster/registry/nats_registry.ts";
import { openRegistry } from "../../../cluster/registry/open_registry.ts";
import { until } from "../../../bench/support/until.ts";
import { NATS_SERVER, NatsServer } from "../../support/nats_server.ts";
import { neverLost, type OpenRegistry, testRegistry } from "../../support/registry_contract.ts";

const TIMES = { beatMs: 50, pollMs: 20, ttlMs: 4000 };
const placeOf = (server: NatsServer) => ({ servers: [server.url], bucket: "cells" });
const registryAt = (server: NatsServer, beatMs = TIMES.beatMs) => new NatsRegistry(placeOf(server), { ...TIMES, beatMs });

async function open(): Promise<OpenRegistry> {
  const server = await NatsServer.start();
  const bucket = await NatsBucket.connect(placeOf(server));
  const keyOf = (id: string) => id.replaceAll(".", "=2E");
  return {
    registry: (beatMs) => registryAt(server, beatMs),
    write: async (id, text) => void await (await bucket.kv()).put(keyOf(id), text),
    async read(id) {
      const entry = await (await bucket.kv()).get(keyOf(id));
      return entry?.operation === "PUT" ? entry.string() : null;
    },
    outage: { stop: () => server.kill(), startEmpty: () => server.start() },
    async [Symbol.asyncDispose]() {
      await bucket.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

describe("a registry at NATS", () => {
  const withServer = NATS_SERVER === null ? it.skip : it;

  testRegistry(open, withServer);

  withServer("keeps cells while its server is silent, and goes on when that speaks again", async () => {
    await using server = await NatsServer.start();
    const registry = registryAt(server);
    await using _cell = await registry.register(() => cellFacts(), neverLost);
    await using watch = await registry.watch(() => {});
    await until(() => watch.cells.length === 1);
    const [{ beat }] = watch.cells;
    server.pause();
    try {
      await until(() => watch.age > TIMES.ttlMs + 500);
      assertEquals(watch.cells.length, 1);
    } finally {
      server.pause(false);
    }
    await until(() => watch.age < 100 && watch.cells[0]?.beat > beat + 2);
  });

  withServer("lets in only whom its server lets in, and says so", async () => {
    await using server = await NatsServer.start(["--user", "cells", "--pass", "a password"]);
    const place = (user: string) => ({ servers: [`nats://${user}127.0.0.1:${server.port}`], bucket: "cells" });
    for (const user of ["", "cells:wrong@"]) {
      const error = await assertRejects(() => new NatsRegistry(place(user)).watch(() => {}), LatentmeshError, "LATENTMESH_NATS_CREDS");
      assertEquals(error.code, "unauthorized");
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

  it("is told of without its password where it is wrong", () => {
    for (const name of ["nats://user:sec/ret@one:4222", "nats://user:secret@one:4222/a.b", "nats://user:secret@one:port"]) {
      const { message } = assertThrows(() => openRegistry(name), LatentmeshError);
      assertStringIncludes(message, "//…@one");
      assertEquals(message.includes("ret"), false, message);
    }
  });

  it("needs the files that its variables name", async () => {
    for (const [field, variable] of [["credentials", "LATENTMESH_NATS_CREDS"], ["ca", "LATENTMESH_NATS_CA"]] as const) {
      const registry = new NatsRegistry({ servers: ["nats://127.0.0.1:1"], bucket: "cells", [field]: "/nothing" });
      const error = await assertRejects(() => registry.watch(() => {}), LatentmeshError, `Cannot read ${variable} /nothing`);
      assertEquals(error.code, "invalid_config");
    }
  });
});
