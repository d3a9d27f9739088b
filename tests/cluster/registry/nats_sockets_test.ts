/**
 * Sockets of NATS' client, at a server that speaks the first words of NATS' protocol.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { connect } from "@nats-io/transport-node";
import { guardSockets } from "../../../cluster/registry/nats_sockets.ts";
import { until } from "../../../bench/support/until.ts";

/** Greets, answers pings, and sends each text once to whoever subscribes. */
function serve(listener: Deno.TcpListener, texts: readonly string[]): Promise<void> {
  const encoder = new TextEncoder();
  return (async () => {
    for await (const connection of listener) {
      void (async () => {
        const write = (text: string) => connection.write(encoder.encode(text));
        await write(`INFO ${JSON.stringify({ server_id: "S", version: "2.9.10", proto: 1, headers: true, max_payload: 1 << 20 })}\r\n`);
        try {
          for await (const text of connection.readable.pipeThrough(new TextDecoderStream())) {
            for (const line of text.split("\r\n")) {
              if (line.startsWith("PING")) await write("PONG\r\n");
              const id = /^SUB \S+ (\d+)/.exec(line)?.[1];
              if (id !== undefined) { for (const text of texts) await write(`MSG subject ${id} ${text.length}\r\n${text}\r\n`); }
            }
          }
        } catch {
          // The client has gone.
        }
      })();
    }
  })();
}

describe("a guarded socket of NATS' client", () => {
  it("has the listeners of the client's present state and no others: what comes, comes once", async () => {
    await guardSockets();
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const texts = ["one", "two", "three"];
    const serving = serve(listener, texts);
    const warnings: string[] = [];
    const warn = (event: Event) => warnings.push(String(event));
    addEventListener("error", warn);
    const connection = await connect({ servers: `127.0.0.1:${listener.addr.port}`, maxReconnectAttempts: 0 });
    const got: string[] = [];
    const subscription = connection.subscribe("subject", { callback: (_, message) => void got.push(message.string()) });
    await until(() => got.length >= texts.length);
    await connection.flush();
    assertEquals(got, texts);
    subscription.unsubscribe();
    await connection.close();
    removeEventListener("error", warn);
    listener.close();
    await serving;
    assertEquals(warnings, []);
  });
});
