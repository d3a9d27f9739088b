/**
 * How two processes prove to each other that they hold the same secret, before anything is decoded. Four frames of fixed layout, at most 256 bytes each:
 *
 *     client → server   hello      version, role, worker id, nonce C
 *     server → client   challenge  version, nonce S
 *     client → server   proof      HMAC-SHA-256(secret, context ‖ "client" ‖ C ‖ S ‖ role ‖ id)
 *     server → client   welcome    HMAC-SHA-256(secret, context ‖ "server" ‖ C ‖ S ‖ role ‖ id)
 *
 * or, instead of the second or fourth, a refusal with its reason. The server proves itself last: a stranger learns nothing from it.
 *
 * @module
 */
import { LatentmeshError } from "../errors.ts";
import { MAX_HANDSHAKE_BYTES, PROTOCOL_VERSION, type Role, ROLES } from "./protocol.ts";

/** Sends and receives handshake frames. */
export interface HandshakeChannel {
  send(frame: Uint8Array<ArrayBuffer>): void;
  /** The next frame. @throws {LatentmeshError} if the other side goes away or takes too long */
  next(): Promise<Uint8Array<ArrayBuffer>>;
}

/** Who a client says it is; believed once it has proved it. */
export interface PeerIdentity {
  readonly worker: string;
  readonly role: Role;
}

const MAGIC = new TextEncoder().encode("LMSH");
const NONCE_BYTES = 32;
const MAC_BYTES = 32;
const MAX_ID_BYTES = 64;
const TYPES = { hello: 1, challenge: 2, proof: 3, welcome: 4, refusal: 5 } as const;
type FrameType = keyof typeof TYPES;

/** Why a server turns a client away. */
const REFUSALS = ["malformed", "version", "unauthorized"] as const;
type Refusal = (typeof REFUSALS)[number];

/**
 * The client's side.
 *
 * @param secret shared with the server
 * @throws {LatentmeshError} `protocol` (another version, not a Latentmesh), `unauthorized` (another secret, on either side)
 */
export async function greet(
  channel: HandshakeChannel,
  identity: PeerIdentity,
  secret: Uint8Array<ArrayBuffer>,
  version = PROTOCOL_VERSION,
): Promise<void> {
  const client = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  channel.send(frame("hello", u16(version), roleByte(identity.role), idField(identity.worker), client));
  const server = await expect(channel, "challenge", 2 + NONCE_BYTES);
  const theirs = readU16(server);
  if (theirs !== version) throw versionError(theirs, version);
  const nonces = concat(client, server.subarray(2));
  channel.send(frame("proof", await sign(secret, "client", nonces, identity)));
  const mac = await expect(channel, "welcome", MAC_BYTES);
  if (!(await verify(secret, "server", nonces, identity, mac))) {
    throw new LatentmeshError("unauthorized", "The other side of the link does not hold the same secret; it is not what it claims to be");
  }
}

/**
 * The server's side.
 *
 * @param secretOf the secret shared with a client; null if nobody of that name is expected
 * @throws {LatentmeshError} `protocol` or `unauthorized`, after having told the client
 */
export async function authenticate(
  channel: HandshakeChannel,
  secretOf: (identity: PeerIdentity) => Uint8Array<ArrayBuffer> | null,
  version = PROTOCOL_VERSION,
): Promise<PeerIdentity> {
  const turnAway = (reason: Refusal, error: LatentmeshError): never => {
    channel.send(frame("refusal", Uint8Array.of(REFUSALS.indexOf(reason)), u16(version)));
    throw error;
  };
  const hello = parse(await channel.next(), "hello");
  if (hello === null) return turnAway("malformed", new LatentmeshError("protocol", "A peer sent something else than a handshake first"));
  const theirs = hello.byteLength < 2 ? -1 : readU16(hello);
  if (theirs !== version) return turnAway("version", versionError(theirs, version));
  const opened = readHello(hello.subarray(2));
  if (opened === null) return turnAway("malformed", new LatentmeshError("protocol", "A peer's handshake is malformed"));
  const { identity, nonce } = opened;
  const server = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  const nonces = concat(nonce, server);
  channel.send(frame("challenge", u16(version), server));
  const proof = parse(await channel.next(), "proof");
  const secret = secretOf(identity);
  // An unknown name is checked against a random secret, so that it looks like a wrong token from outside.
  const proven = proof !== null && (await verify(secret ?? crypto.getRandomValues(new Uint8Array(32)), "client", nonces, identity, proof));
  if (!proven || secret === null) {
    const who = `${identity.role} "${identity.worker}"`;
    return turnAway(
      "unauthorized",
      new LatentmeshError("unauthorized", `Refused ${who}: ${secret === null ? "it is not expected here" : "wrong token"}`),
    );
  }
  channel.send(frame("welcome", await sign(secret, "server", nonces, identity)));
  return identity;
}

function frame(type: FrameType, ...parts: readonly Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
  return concat(MAGIC, Uint8Array.of(TYPES[type]), ...parts);
}

/** The rest of a frame of the expected type; null if it is another or not a handshake frame at all. */
function parse(bytes: Uint8Array<ArrayBuffer>, type: FrameType): Uint8Array<ArrayBuffer> | null {
  const fits = bytes.byteLength > MAGIC.length && bytes.byteLength <= MAX_HANDSHAKE_BYTES;
  if (!fits || MAGIC.some((byte, i) => bytes[i] !== byte) || bytes[MAGIC.length] !== TYPES[type]) return null;
  return bytes.subarray(MAGIC.length + 1);
}

async function expect(channel: HandshakeChannel, type: FrameType, length: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await channel.next();
  const body = parse(bytes, type);
  if (body !== null && body.byteLength === length) return body;
  const refusal = parse(bytes, "refusal");
  if (refusal !== null && refusal.byteLength === 3) throw refused(REFUSALS[refusal[0]], readU16(refusal.subarray(1)));
  throw new LatentmeshError("protocol", "The other side of the link does not speak this protocol");
}

function refused(reason: Refusal | undefined, version: number): LatentmeshError {
  if (reason === "version") return versionError(version, PROTOCOL_VERSION);
  if (reason === "unauthorized") {
    return new LatentmeshError("unauthorized", "The other side refused this worker: wrong token, or it is not expected there");
  }
  return new LatentmeshError("protocol", "The other side could not read the handshake");
}

function versionError(theirs: number, ours: number): LatentmeshError {
  return new LatentmeshError(
    "protocol",
    `Protocol version ${theirs} meets version ${ours}; run the same Latentmesh release on both sides`,
    { param: "version" },
  );
}

function readHello(body: Uint8Array<ArrayBuffer>): { identity: PeerIdentity; nonce: Uint8Array<ArrayBuffer> } | null {
  const role = ROLES[body[0]];
  const idBytes = body[1];
  if (role === undefined || idBytes === undefined || idBytes > MAX_ID_BYTES || body.byteLength !== 2 + idBytes + NONCE_BYTES) return null;
  const worker = String.fromCharCode(...body.subarray(2, 2 + idBytes));
  return isWorkerId(worker) ? { identity: { worker, role }, nonce: body.subarray(2 + idBytes) } : null;
}

/** Whether a text may name a worker: 1 to 64 letters, digits, dots, dashes, underscores or slashes. */
export function isWorkerId(text: string): boolean {
  return /^[\w./-]{1,64}$/.test(text);
}

function idField(worker: string): Uint8Array<ArrayBuffer> {
  if (!isWorkerId(worker)) throw new LatentmeshError("internal", `"${worker}" cannot name a worker`);
  return Uint8Array.of(worker.length, ...new TextEncoder().encode(worker));
}

function roleByte(role: Role): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(ROLES.indexOf(role));
}

/** What a side signs. Fixed-length fields first, so that no two inputs read the same. */
function signed(side: "client" | "server", nonces: Uint8Array<ArrayBuffer>, { worker, role }: PeerIdentity): Uint8Array<ArrayBuffer> {
  const context = new TextEncoder().encode(`latentmesh/${PROTOCOL_VERSION} ${side} `);
  return concat(context, nonces, roleByte(role), idField(worker));
}

async function sign(secret: Uint8Array<ArrayBuffer>, side: "client" | "server", nonces: Uint8Array<ArrayBuffer>, identity: PeerIdentity) {
  return new Uint8Array(await crypto.subtle.sign("HMAC", await hmacKey(secret), signed(side, nonces, identity)));
}

/** Constant-time: `verify` compares inside the cryptographic library. */
async function verify(
  secret: Uint8Array<ArrayBuffer>,
  side: "client" | "server",
  nonces: Uint8Array<ArrayBuffer>,
  identity: PeerIdentity,
  mac: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  return await crypto.subtle.verify("HMAC", await hmacKey(secret), mac, signed(side, nonces, identity));
}

function hmacKey(secret: Uint8Array<ArrayBuffer>): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, ["sign", "verify"]);
}

function concat(...parts: readonly Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return bytes;
}

function u16(value: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(value >> 8, value & 255);
}

function readU16(bytes: Uint8Array<ArrayBuffer>): number {
  return (bytes[0] << 8) | bytes[1];
}
