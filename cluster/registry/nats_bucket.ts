/**
 * A bucket of NATS' key-value store, whatever becomes of its server: it is opened again when the connection is back, and made again when it is gone.
 *
 * @module
 */
import type { KV } from "@nats-io/kv";
import type { NatsConnection } from "@nats-io/transport-node";
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { guardSockets } from "./nats_sockets.ts";

/** Where a bucket is, and how one gets there. */
export interface NatsPlace {
  /** `nats://host:4222`, or `tls://host:4222`; several are separated by commas. */
  readonly servers: readonly string[];
  readonly bucket: string;
  /** Path of a file of credentials (JWT and nkey), as `nsc` writes it. */
  readonly credentials?: string;
  /** Path of a PEM certificate of who signed the servers'. */
  readonly ca?: string;
}

/** Milliseconds after which a record that nobody writes any more is removed. Readers take its cell for gone long before. */
const RECORD_TTL = 60_000;
const RECONNECT_WAIT = 500;
const CONNECT_TIMEOUT = 5000;
/** Milliseconds for one request: what was lost with a connection must be written again before anybody takes its cell for gone. */
const TIMEOUT = 1000;
/** Milliseconds between pings, and how many may be unanswered: a server that is silent must be noticed before its silence is taken for that of cells. */
const PING_INTERVAL = 1000;
const UNANSWERED = 2;

/** A connection, and the bucket as long as there is one. */
export class NatsBucket {
  readonly #connection: NatsConnection;
  readonly #bucket: string;
  #kv: Promise<KV> | null = null;
  #connected = true;
  /** Told whenever the connection is lost or back. */
  onConnection: () => void = () => {};

  private constructor(connection: NatsConnection, bucket: string) {
    this.#connection = connection;
    this.#bucket = bucket;
    void this.#follow();
  }

  /** Connects. @throws {LatentmeshError} `not_found` if no server is there, `unauthorized` if it does not let us in, `invalid_config` if a file cannot be read */
  static async connect({ servers, bucket, credentials, ca }: NatsPlace): Promise<NatsBucket> {
    const { connect, credsAuthenticator, AuthorizationError } = await import("@nats-io/transport-node");
    await guardSockets();
    const authenticator = credentials === undefined ? undefined : credsAuthenticator(await readNamed("LATENTMESH_NATS_CREDS", credentials));
    if (ca !== undefined) await readNamed("LATENTMESH_NATS_CA", ca);
    const secure = ca !== undefined || servers.some((server) => server.startsWith("tls:"));
    const named = servers.map((server) => new URL(server));
    const [{ username, password }] = named;
    try {
      const connection = await connect({
        servers: named.map(({ host }) => host),
        ...username === "" ? {} : { user: decodeURIComponent(username), pass: decodeURIComponent(password) },
        authenticator,
        tls: secure ? { caFile: ca } : undefined,
        timeout: CONNECT_TIMEOUT,
        maxReconnectAttempts: -1,
        // A server that has lost its users has not lost them for ever.
        ignoreAuthErrorAbort: true,
        reconnectTimeWait: RECONNECT_WAIT,
        pingInterval: PING_INTERVAL,
        maxPingOut: UNANSWERED,
        name: "latentmesh",
      });
      return new NatsBucket(connection, bucket);
    } catch (cause) {
      const places = named.map(({ protocol, host }) => `${protocol}//${host}`).join(", ");
      if (cause instanceof AuthorizationError) {
        const remedy = "give the user in the address, or LATENTMESH_NATS_CREDS";
        throw new LatentmeshError(
          "unauthorized",
          `Cannot use the registry at ${places}: the server does not let us in (${cause.message}); ${remedy}`,
          { cause },
        );
      }
      throw new LatentmeshError("not_found", `Cannot reach the registry at ${places}: ${messageOf(cause)}`, { cause });
    }
  }

  /** Whether there is a connection now. */
  get connected(): boolean {
    return this.#connected;
  }

  /** The bucket, made if there is none. @throws if the server cannot be asked */
  async kv(): Promise<KV> {
    if (!this.#connected) throw new Error("the connection is lost, and is being made again");
    const opened = this.#kv ??= this.#open();
    try {
      return await opened;
    } catch (error) {
      this.forget(opened);
      throw error;
    }
  }

  /** Something failed in it: it is opened again. */
  forget(opened: Promise<KV> | null = this.#kv): void {
    if (this.#kv === opened) this.#kv = null;
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }

  async #open(): Promise<KV> {
    const [{ Kvm }, { jetstream, StorageType }] = await Promise.all([import("@nats-io/kv"), import("@nats-io/jetstream")]);
    // Records are made again at every beat: nothing of them is worth a disk.
    return await new Kvm(jetstream(this.#connection, { timeout: TIMEOUT })).create(this.#bucket, {
      history: 1,
      ttl: RECORD_TTL,
      storage: StorageType.Memory,
    });
  }

  async #follow(): Promise<void> {
    for await (const { type } of this.#connection.status()) {
      if (type !== "disconnect" && type !== "reconnect") continue;
      this.#connected = type === "reconnect";
      this.forget();
      this.onConnection();
    }
  }
}

/** @throws {LatentmeshError} `invalid_config` that names the variable */
async function readNamed(variable: string, path: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return await Deno.readFile(path);
  } catch (cause) {
    throw new LatentmeshError("invalid_config", `Cannot read ${variable} ${path}: ${messageOf(cause)}`, { param: variable, cause });
  }
}
