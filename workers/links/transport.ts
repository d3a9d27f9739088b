/**
 * Opens sockets. On one host: Deno's WebSocket over Unix sockets, the quickest way there is. Across hosts: `ws` as the client, because Deno's own never turns
 * Nagle's algorithm off, and frames of 1 to 64 KB then wait 44 ms for a delayed acknowledgement; the accepting side is `websocket/`, which trusts strangers
 * with little.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { MAX_FRAME_BYTES } from "../../core/wire/protocol.ts";
import type { Listener, Socket, TlsFiles, Transport } from "../../core/wire/transport.ts";
import { Door, type Securing } from "./websocket/door.ts";

/**
 * Host in URLs of Unix sockets. Deno asks for permission to reach it, so it is one that leads nowhere (RFC 5737). Not a name: Deno looks names up although nothing
 * is sent there, and after two dozen lookups of one that does not exist connecting hangs.
 */
export const UNIX_HOST = "192.0.2.1";

/** Most sockets of this host that have not authenticated yet; more are turned away. */
const MAX_PENDING = 64;
const TRY_AGAIN_LATER = 1013;

/** Deno's transport. */
export class DenoTransport implements Transport {
  readonly elsewhere: TlsFiles;

  constructor(tls: TlsFiles = {}) {
    this.elsewhere = tls;
  }

  async listen(address: string, onSocket: (socket: Socket) => Promise<void>): Promise<Listener> {
    try {
      if (address.startsWith("unix:")) return await listenUnix(address.slice(5), onSocket);
      return await listenTcp(new URL(address), this.elsewhere, onSocket);
    } catch (cause) {
      if (cause instanceof LatentmeshError) throw cause;
      throw new LatentmeshError("invalid_config", `Cannot listen on ${address}: ${messageOf(cause)}`, { cause });
    }
  }

  async connect(address: string): Promise<Socket> {
    if (address.startsWith("unix:")) return await connectUnix(address.slice(5));
    return await connectTcp(address, this.elsewhere);
  }
}

/** In a directory that only this user can enter: who comes here is no stranger. */
async function listenUnix(path: string, onSocket: (socket: Socket) => Promise<void>): Promise<Listener> {
  let pending = 0;
  const upgrade = (request: globalThis.Request): Response => {
    if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") return new Response("Latentmesh workers meet here.\n", { status: 426 });
    // A rank that computes for long cannot answer pings; deadlines find out who is silent.
    const { socket, response } = Deno.upgradeWebSocket(request, { idleTimeout: 0 });
    socket.onopen = () => {
      if (pending >= MAX_PENDING) return socket.close(TRY_AGAIN_LATER);
      pending++;
      void onSocket(socket as unknown as Socket).finally(() => pending--);
    };
    return response;
  };
  // A socket left behind by a worker that was killed.
  await Deno.remove(path).catch(() => {});
  const server = Deno.serve({ path, onListen: () => {} }, upgrade);
  await Deno.chmod(path, 0o600);
  return {
    address: `unix:${path}`,
    async close() {
      await server.shutdown();
      await Deno.remove(path).catch(() => {});
    },
  };
}

async function listenTcp(url: URL, tls: TlsFiles, onSocket: (socket: Socket) => Promise<void>): Promise<Listener> {
  const securing = url.protocol === "wss:" ? await securingOf(url, tls) : null;
  const hostname = url.hostname.replace(/^\[|\]$/g, "");
  const port = Number(url.port || 0);
  const door = new Door({ hostname, port }, securing, onSocket);
  return {
    address: `${url.protocol}//${url.hostname}:${door.address.port}`,
    close: () => door.close(),
  };
}

async function securingOf(url: URL, { cert, key }: TlsFiles): Promise<Securing> {
  if (cert === undefined || key === undefined) {
    throw new LatentmeshError("invalid_config", `Cannot listen on ${url.href}: wss needs a certificate and its key`);
  }
  // Loaded when needed, as `ws` is below.
  const { secureWith } = await import("./websocket/tls_connection.ts");
  return secureWith(cert, key);
}

async function connectUnix(path: string): Promise<Socket> {
  const client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
  // Deno's extension of the standard constructor.
  const options = { client } as unknown as string[];
  const socket = new WebSocket(`ws://${UNIX_HOST}/`, options);
  try {
    await opened(socket as unknown as OpeningSocket, `unix:${path}`);
  } finally {
    client.close();
  }
  return socket as unknown as Socket;
}

async function connectTcp(address: string, { ca }: TlsFiles): Promise<Socket> {
  // Loaded when needed: workers of one host need neither it nor the permissions it asks for.
  const { WebSocket: WsSocket } = await import("ws");
  const socket = new WsSocket(address, { perMessageDeflate: false, maxPayload: MAX_FRAME_BYTES, ca, handshakeTimeout: 5000 });
  await opened(socket as unknown as OpeningSocket, address);
  return socket as unknown as Socket;
}

interface OpeningSocket {
  onopen: (() => void) | null;
  onerror: ((event: { readonly message?: string; readonly error?: unknown }) => void) | null;
  onclose: (() => void) | null;
}

function opened(socket: OpeningSocket, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (problem: string, cause?: unknown) =>
      reject(new LatentmeshError("worker_lost", `Cannot connect to ${address}: ${problem}`, { cause }));
    socket.onopen = () => resolve();
    socket.onerror = ({ message, error }) => fail(message || "it does not answer", error);
    socket.onclose = () => fail("it closed the connection");
  });
}
