/**
 * How worker processes end that this host keeps from starting.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { guardianSettled } from "../../../cluster/processes/guardian.ts";
import { passedEnvironment, spawnWorker } from "../../../cluster/processes/spawn.ts";
import type { DeviceTuning } from "../../../core/device_kind.ts";
import { wideFlags } from "../../../core/wide_kernels.ts";
import { UNABLE_EXIT_CODE } from "../../../core/wire/protocol.ts";
import { UNIX_HOST } from "../../../workers/links/transport.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";

const WORKER = new URL("../../../workers/process/main.ts", import.meta.url);

/** Starts one that would join where nobody is. */
async function ended(entry: URL, given: { device?: "dawn" | "wasm" | "deno"; dawn?: string; model?: string; tuning?: DeviceTuning }) {
  const directory = await Deno.makeTempDir();
  const { ended } = spawnWorker({
    entry,
    unixHost: UNIX_HOST,
    bootstrap: {
      worker: "decode-0.0/1",
      coordinator: `unix:${directory}/coordinator.sock`,
      token: "00",
      listen: `unix:${directory}/worker.sock`,
      host: "a",
      model: fixtureDirectory("tiny-mla"),
      device: "wasm",
      ...given,
    },
    directory,
    sockets: [`unix:${directory}/coordinator.sock`, `unix:${directory}/worker.sock`],
    sharesMemory: false,
    gpu: null,
  });
  const end = await ended;
  await guardianSettled();
  await Deno.remove(directory, { recursive: true });
  return end;
}

describe("a worker process", () => {
  it("says by its exit code that it would fare no better again: for want of a device, of a model, or of its own code", async () => {
    const [dawn, model, code, away] = await Promise.all([
      ended(WORKER, { device: "dawn", dawn: "/nowhere/index.js" }),
      ended(WORKER, { model: "/nowhere" }),
      ended(new URL("./no_such_module.ts", WORKER), {}),
      // That nobody is there to join may change.
      ended(WORKER, {}),
    ]);
    assertEquals([dawn.code, model.code, code.code, away.code], [UNABLE_EXIT_CODE, UNABLE_EXIT_CODE, 1, 1]);
    assertEquals([dawn.unloadable, model.unloadable, code.unloadable, away.unloadable], [false, false, true, false]);
    assertStringIncludes(dawn.lastLines, "Cannot load Dawn from file:///nowhere/index.js");
    assertStringIncludes(code.lastLines, "no_such_module.ts");
  });

  it("is told of the flags that V8 is started with, where it computes on the processor and nobody minds", async () => {
    const echo = new URL("../../support/echo_tuning.ts", import.meta.url);
    const told = await Promise.all([
      ended(echo, {}),
      ended(echo, { tuning: { threads: 2, wide: false } }),
      ended(echo, { device: "deno" }),
    ]);
    const known = wideFlags().length > 0;
    assertEquals(told.map(({ lastLines }) => JSON.parse(lastLines)), [{ wide: known }, { threads: 2, wide: false }, { wide: false }]);
  });

  it("is tried again where its code could not be fetched", async () => {
    const refused = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = refused.addr as Deno.NetAddr;
    refused.close();
    const { code, unloadable, lastLines } = await ended(new URL(`http://127.0.0.1:${port}/main.ts`), {});
    assertEquals([code, unloadable], [1, false], lastLines);
  });

  it("fetches packages as the process that starts it does", () => {
    const names = [
      "DENO_TLS_CA_STORE",
      "NODE_EXTRA_CA_CERTS",
      "NPM_CONFIG_REGISTRY",
      "HTTPS_PROXY",
      "no_proxy",
      "LATENTMESH_TOKEN",
      "AWS_SECRET_ACCESS_KEY",
    ];
    assertEquals(Object.keys(passedEnvironment(Object.fromEntries(names.map((name) => [name, "x"])))), names.slice(0, 5));
  });
});
