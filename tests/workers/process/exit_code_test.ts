/**
 * What the exit code of a worker that could not join says: whether another would fare better.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { LATER_EXIT_CODE, REFUSED_EXIT_CODE, UNABLE_EXIT_CODE } from "../../../core/wire/protocol.ts";
import { DenoTransport } from "../../../workers/links/transport.ts";
import { failureExitCode } from "../../../workers/process/exit_code.ts";

const system = (code: string) => Object.assign(new Error(code), { code });
const because = (cause: unknown) => new LatentmeshError("invalid_config", "Cannot listen", { cause });

describe("the exit code of a worker", () => {
  it("lets it be tried again where an address is taken, and not where a certificate or a directory is missing", async () => {
    using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = taken.addr as Deno.NetAddr;
    // Of the last one, this host has no such address, or not yet.
    const addresses = [`ws://127.0.0.1:${port}`, "wss://127.0.0.1:0", "unix:/nowhere/at/all", "ws://192.0.2.1:0"];
    const codes = await Promise.all(addresses.map(async (address) => {
      return failureExitCode(await assertRejects(() => new DenoTransport().listen(address, () => Promise.resolve()), LatentmeshError, address));
    }));
    assertEquals(codes, [1, UNABLE_EXIT_CODE, UNABLE_EXIT_CODE, 1]);
  });

  it("tells what may pass however deep it is told, and all else by its code", () => {
    const circle: Error = new Error("a");
    circle.cause = circle;
    for (const cause of [system("EMFILE"), because(system("ESTALE"))]) assertEquals(failureExitCode(because(cause)), 1);
    for (const cause of [undefined, "text", null, circle, system("ENOENT"), new Deno.errors.NotFound("gone")]) {
      assertEquals(failureExitCode(because(cause)), UNABLE_EXIT_CODE, String(cause));
    }
    const codes = (["unauthorized", "capacity", "worker_lost"] as const).map((code) => failureExitCode(new LatentmeshError(code, "")));
    assertEquals([...codes, failureExitCode(new Error("a bug"))], [REFUSED_EXIT_CODE, LATER_EXIT_CODE, 1, 1]);
  });
});
