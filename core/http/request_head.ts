/**
 * The head of an HTTP/1.1 request (RFC 9112), read strictly: whatever two readers could understand in two ways is refused.
 *
 * @module
 */

/** Bytes of a head at most. */
export const MAX_HEAD_BYTES = 16 << 10;

/** Fields of a head at most. */
const MAX_FIELDS = 100;

/** Name or address and port: nothing that could be read as part of a path. */
const HOST = /^(?:\[[0-9a-f:.]+\]|[\w.~!$&'()*+,;=%-]*)(?::\d{1,5})?$/i;

/** How the body is delimited. */
export type BodyFraming = { readonly kind: "none" } | { readonly kind: "length"; readonly bytes: number } | { readonly kind: "chunked" };

/** A parsed head. */
export interface RequestHead {
  readonly method: string;
  /** Begins with `/`. */
  readonly target: string;
  /** Of HTTP/1. */
  readonly minor: 0 | 1;
  /** Names in lower case, in the order they came. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly host: string;
  readonly body: BodyFraming;
  /** Whether the client would send another request over this connection. */
  readonly keepAlive: boolean;
  /** Whether the client waits to be told that its body is wanted. */
  readonly expectsContinue: boolean;
}

/** A request that cannot be read; the connection ends after the answer. */
export class HttpSyntaxError extends Error {
  readonly status: 400 | 413 | 417 | 431 | 501 | 505;

  constructor(status: HttpSyntaxError["status"], problem: string) {
    super(problem);
    this.status = status;
  }
}

/**
 * Where a head ends, the empty line included.
 *
 * @param from where to go on searching: what came before has been searched, but for its last three bytes
 * @returns -1 if it is not complete
 */
export function endOfHead(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(13, from); at >= 0 && at + 3 < bytes.length; at = bytes.indexOf(13, at + 1)) {
    if (bytes[at + 1] === 10 && bytes[at + 2] === 13 && bytes[at + 3] === 10) return at + 4;
  }
  return -1;
}

/** Parses a complete head. @throws {HttpSyntaxError} */
export function parseRequestHead(bytes: Uint8Array<ArrayBuffer>): RequestHead {
  // Latin-1, as Fetch's headers have it: one character for each byte.
  const lines = latin1(bytes).slice(0, -4).split("\r\n");
  const [, method, rawTarget, major, minor] = /^([!#$%&'*+.^_`|~\w-]{1,32}) ([\x21-\x7e]{1,8192}) HTTP\/(\d)\.(\d)$/.exec(lines[0]) ??
    refuse("the first line is not a request's");
  if (major !== "1" || (minor !== "0" && minor !== "1")) throw new HttpSyntaxError(505, `HTTP/${major}.${minor} is not spoken here`);
  if (lines.length - 1 > MAX_FIELDS) throw new HttpSyntaxError(431, `A request has ${lines.length - 1} header fields; the most are ${MAX_FIELDS}`);
  const fields = lines.slice(1).map(parseField);
  const values = (name: string) => fields.filter(([other]) => other === name).map(([, value]) => value);
  const hosts = values("host");
  if (hosts.length > 1 || (hosts.length === 0 && minor === "1") || !HOST.test(hosts[0] ?? "")) refuse("there must be one host");
  const connection = values("connection").join(",").toLowerCase().split(",").map((option) => option.trim());
  const expectation = values("expect");
  if (expectation.some((value) => value.toLowerCase() !== "100-continue")) throw new HttpSyntaxError(417, `Expectation "${expectation}" is not met`);
  return {
    method,
    target: targetOf(rawTarget),
    minor: Number(minor) as 0 | 1,
    fields,
    host: hosts[0] ?? "",
    body: framingOf(values("content-length"), values("transfer-encoding"), minor),
    keepAlive: minor === "1" ? !connection.includes("close") : connection.includes("keep-alive"),
    expectsContinue: expectation.length > 0 && minor === "1",
  };
}

function latin1(bytes: Uint8Array<ArrayBuffer>): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return text;
}

function parseField(line: string): readonly [name: string, value: string] {
  const colon = line.indexOf(":");
  const name = line.slice(0, Math.max(0, colon)).toLowerCase();
  // No space may stand before the colon, and a line that begins with one would go on the one before.
  if (!/^[!#$%&'*+.^_`|~\w-]+$/.test(name)) refuse("a header field has no name");
  const value = trimBlanks(line.slice(colon + 1));
  // deno-lint-ignore no-control-regex
  if (/[\x00-\x08\x0a-\x1f\x7f]/.test(value)) refuse(`the header field "${name}" holds control characters`);
  return [name, value];
}

/** Without spaces and tabs around it. */
function trimBlanks(text: string): string {
  const blank = (at: number) => text[at] === " " || text[at] === "\t";
  let [begin, end] = [0, text.length];
  while (begin < end && blank(begin)) begin++;
  while (end > begin && blank(end - 1)) end--;
  return text.slice(begin, end);
}

function targetOf(target: string): string {
  if (target.startsWith("/")) return target;
  // What proxies are sent.
  const url = /^https?:\/\//i.test(target) ? URL.parse(target) : null;
  return url === null ? refuse("its target is not a path") : url.pathname + url.search;
}

function framingOf(lengths: readonly string[], codings: readonly string[], minor: string): BodyFraming {
  if (codings.length > 0) {
    // Both would be two answers to where the body ends.
    if (lengths.length > 0) refuse("it has both a length and a transfer coding");
    if (minor === "0") refuse("transfer codings are not HTTP/1.0");
    if (codings.length > 1 || codings[0].toLowerCase() !== "chunked") {
      throw new HttpSyntaxError(501, `Transfer coding "${codings}" is not known here`);
    }
    return { kind: "chunked" };
  }
  if (lengths.length === 0) return { kind: "none" };
  if (lengths.length > 1 || !/^\d{1,15}$/.test(lengths[0])) refuse("its length is not one number");
  const bytes = Number(lengths[0]);
  return bytes === 0 ? { kind: "none" } : { kind: "length", bytes };
}

function refuse(problem: string): never {
  throw new HttpSyntaxError(400, `Cannot read the request: ${problem}`);
}
