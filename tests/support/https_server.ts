/**
 * An HTTPS server on loopback whose connections a test can break.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createServer, type Server } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { ROOT } from "../../bench/support/root.ts";

const TLS = `${ROOT}/tests/support/tls`;

/** A running server. A body that fails breaks its connection; a client that goes away cancels the body it was given. */
export class HttpsServer {
  readonly port: number;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
  }

  /** @param port 0: any that is free */
  static async listen(port: number, answer: (request: Request) => Promise<Response>): Promise<HttpsServer> {
    const [cert, key] = await Promise.all(["cert.pem", "key.pem"].map((file) => Deno.readTextFile(`${TLS}/${file}`)));
    const server = createServer({ cert, key }, (incoming, outgoing) => void relay(incoming, outgoing, answer));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject).listen(port, "127.0.0.1", resolve);
    await promise;
    return new HttpsServer(server);
  }

  /** Ends at once, with all connections. */
  async stop(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    await promise;
  }
}

async function relay(incoming: IncomingMessage, outgoing: ServerResponse, answer: (request: Request) => Promise<Response>): Promise<void> {
  const { method = "GET", url = "/" } = incoming;
  const headers = new Headers(Object.entries(incoming.headers).map(([name, value]): [string, string] => [name, String(value)]));
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  outgoing.on("close", () => void reader?.cancel().catch(() => {}));
  try {
    const parts: Uint8Array[] = [];
    for await (const part of incoming) parts.push(part);
    const body = parts.length === 0 ? undefined : Buffer.concat(parts);
    const response = await answer(new Request(new URL(url, "https://127.0.0.1"), { method, headers, body }));
    outgoing.writeHead(response.status, Object.fromEntries(response.headers));
    outgoing.flushHeaders();
    reader = response.body?.getReader();
    for (let part = await reader?.read(); part !== undefined && !part.done; part = await reader!.read()) outgoing.write(part.value);
    outgoing.end();
  } catch {
    outgoing.destroy();
  }
}
