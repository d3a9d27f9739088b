import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { DenoTransport } from "../../../workers/links/transport.ts";
import { peerProblem } from "../../../workers/process/peer_problem.ts";

const TLS = { cert: "cert.pem", key: "key.pem" } as const;
const read = (name: string) => Deno.readTextFileSync(new URL(`../../support/tls/${name}`, import.meta.url));

describe("a worker that cannot reach another", () => {
  const problem = async (address: string, ca?: string) => {
    const peer = { worker: "b.0/1", address };
    const error = await new DenoTransport({ ca }).connect(address).then(() => null, (error) => error);
    return peerProblem(error, peer);
  };

  it("says which, where, why, and whose flag is to be changed", async () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr as Deno.NetAddr;
    listener.close();
    const refused = await problem(`ws://127.0.0.1:${port}`);
    assertEquals(refused.code, "worker_lost");
    assertStringIncludes(refused.message, `Cannot reach worker b.0/1 at ws://127.0.0.1:${port}: `);
    assertStringIncludes(refused.message, "correct the address that its --advertise gives");
    const transport = new DenoTransport({ cert: read(TLS.cert), key: read(TLS.key) });
    const never = () => new Promise<void>(() => {});
    const [here, elsewhere] = [await transport.listen("wss://127.0.0.1:0", never), await transport.listen("wss://127.0.0.9:0", never)];
    assertStringIncludes((await problem(here.address)).message, "set --tls-ca, or cluster.tls.ca on the coordinator's host");
    assertStringIncludes(
      (await problem(elsewhere.address, read(TLS.cert))).message,
      "the certificate of its host needs the address that its --advertise gives",
    );
    for (const door of [here, elsewhere]) await door.close();
    // Of one host, there is no address to correct.
    const gone = new LatentmeshError("worker_lost", "it is gone");
    assertEquals(peerProblem(gone, { worker: "decode-0.1/1", address: "unix:/tmp/x/decode-0.1.sock" }), gone);
  });
});
