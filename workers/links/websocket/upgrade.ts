/**
 * From an HTTP request to a WebSocket, on the accepting side.
 *
 * @module
 */
import { endOfHead, HttpSyntaxError, parseRequestHead, type RequestHead } from "../../../core/http/request_head.ts";
import { type Connection, type ConnectionReader, writeAll } from "../../../core/net/connection.ts";

/** Bytes of a worker's request at most; a browser's may be longer, and no browser is wanted. */
const MAX_REQUEST = 4096;
/** First byte of a TLS connection. */
const TLS_HANDSHAKE = 0x16;
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** Reads the request and agrees to it. @returns whether it is a WebSocket now; others have been answered */
export async function acceptUpgrade(connection: Connection, reader: ConnectionReader): Promise<boolean> {
  const answer = (status: string, fields: readonly string[] = [], text = "") => {
    const lines = [`HTTP/1.1 ${status}`, ...fields, ...(fields.length > 0 ? [] : [`content-length: ${text.length}`, "connection: close"]), "", text];
    return writeAll(connection, new TextEncoder().encode(lines.join("\r\n")));
  };
  try {
    const head = await readHead(reader);
    if (head === null) return false;
    const key = keyOf(head);
    if (key === null) {
      await answer("426 Upgrade Required", [], "Latentmesh workers meet here.\n");
      return false;
    }
    // Browsers send an Origin, workers do not: no page may reach a worker.
    if (valueOf(head, "origin") !== null) {
      await answer("403 Forbidden");
      return false;
    }
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-1", new TextEncoder().encode(key + GUID)));
    await answer("101 Switching Protocols", ["upgrade: websocket", "connection: upgrade", `sec-websocket-accept: ${digest.toBase64()}`]);
    return true;
  } catch (error) {
    if (error instanceof HttpSyntaxError) await answer("400 Bad Request").catch(() => {});
    return false;
  }
}

async function readHead(reader: ConnectionReader): Promise<RequestHead | null> {
  while (true) {
    const end = endOfHead(reader.bytes, 0);
    if (end > MAX_REQUEST || (end < 0 && reader.bytes.length >= MAX_REQUEST)) throw new HttpSyntaxError(431, "The request is too long");
    if (end > 0) {
      const head = parseRequestHead(reader.bytes.slice(0, end));
      reader.take(end);
      return head;
    }
    // Who begins with a TLS handshake goes on with nothing else, and would wait for an answer that it can read.
    if (reader.bytes[0] === TLS_HANDSHAKE) return null;
    if (!await reader.fill()) return null;
  }
}

/** What the client is answered to; null if it does not ask for a WebSocket. */
function keyOf(head: RequestHead): string | null {
  const key = valueOf(head, "sec-websocket-key") ?? "";
  const asks = head.method === "GET" && head.body.kind === "none" && valueOf(head, "upgrade")?.toLowerCase() === "websocket" &&
    valueOf(head, "sec-websocket-version") === "13";
  return asks && /^[A-Za-z0-9+/]{22}==$/.test(key) ? key : null;
}

function valueOf({ fields }: RequestHead, name: string): string | null {
  return fields.find(([other]) => other === name)?.[1] ?? null;
}
