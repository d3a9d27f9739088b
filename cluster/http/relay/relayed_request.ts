/**
 * A request that came from a front, which may have it go on elsewhere if this cell is lost: what is needed for that goes to the front beside the events, as comments of
 * the event stream, which the front takes out. Protocol 1:
 *
 *     x-latentmesh-relay: 1 NAME CREATED     with a request: what identifiers of its answer are made from, and its time in Unix seconds
 *     x-latentmesh-client: CLIENT            whose it is, as the front knows it: names of prefixes are salted with it
 *     x-latentmesh-spilled: KEY              the prefix that brings it here though it is another cell's by rendezvous
 *     x-latentmesh-error: CODE               with an answer: the error that it tells of, in whatever shape the API has
 *     :seed 123                              before an event: what tokens are drawn with
 *     :tokens 0=5,6,7 1=8                    the tokens that it shows the last of, by choice
 *     :failed worker_lost                    the event is an error, of the engine
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { ErrorCode } from "../../../core/errors.ts";

/** Version of the protocol above. */
export const RELAY_PROTOCOL = 1;

/** Headers of requests. */
export const RELAY_HEADER = "x-latentmesh-relay";
export const CLIENT_HEADER = "x-latentmesh-client";
export const SPILLED_HEADER = "x-latentmesh-spilled";
/** Header of answers. */
export const ERROR_HEADER = "x-latentmesh-error";

/** Where a request goes that another cell has begun to answer. */
export const CONTINUE_PATH = "/relay/continue";

/** What another cell has answered so far. */
export interface Resumption {
  /** What it drew tokens with. */
  readonly seed: bigint;
  /** Tokens that were shown, by choice. */
  readonly tokens: readonly (readonly number[])[];
}

/** What of a cell the tokens that it draws depend on; null: it is not known yet. */
export interface CellIdentity {
  /** Digest of its model's files. */
  readonly weights: string | null;
  /** See `core/registry/fingerprint.ts`. */
  readonly fingerprint: string | null;
}

/** Names of what is answered: from chance, or from a name that a front gave, so that every cell makes the same ones. */
export class AnswerNames {
  /** Unix time in seconds. */
  readonly created: number;
  readonly #name: string | null;
  #made = 0;

  /** @param given by a front */
  constructor(given: { readonly name: string; readonly created: number } | null = null) {
    this.#name = given?.name ?? null;
    this.created = given?.created ?? Math.floor(Date.now() / 1000);
  }

  /** 128 bits, in hexadecimal; the same ones in the same order for the same name. */
  next(): string {
    if (this.#name === null) return crypto.randomUUID().replaceAll("-", "");
    return createHash("sha256").update(`${this.#name} ${this.#made++}`).digest("hex").slice(0, 32);
  }

  /** The same in the form of a UUID. */
  nextUuid(): string {
    return this.next().replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  }
}

/** What a front gave a request along. */
export interface RelayFields {
  readonly name: string;
  readonly created: number;
}

/** Reads {@link RELAY_HEADER}; null where it says nothing that is understood. */
export function readRelayHeader(value: string | undefined): RelayFields | null {
  const match = /^(\d+) ([\w-]{8,64}) (\d{1,15})$/.exec(value ?? "");
  return match === null || Number(match[1]) !== RELAY_PROTOCOL ? null : { name: match[2], created: Number(match[3]) };
}

/** Notes for the front, of one request. */
export class RelayNotes {
  /** Where it goes on; null: it begins. */
  readonly resumption: Resumption | null;
  readonly #tokens = new Map<number, number[]>();
  #seed: bigint | null = null;
  #seedTold = false;
  #failed: ErrorCode | null = null;

  constructor(resumption: Resumption | null) {
    this.resumption = resumption;
  }

  /** What tokens are drawn with. */
  seed(seed: number | bigint): void {
    this.#seed ??= BigInt(seed);
  }

  /** A choice has got a token. */
  token(choice: number, token: number): void {
    const tokens = this.#tokens.get(choice);
    if (tokens === undefined) this.#tokens.set(choice, [token]);
    else tokens.push(token);
  }

  /** The engine has failed. */
  failed(code: ErrorCode): void {
    this.#failed ??= code;
  }

  /** What there is to note before the next event. */
  take(): string {
    let notes = "";
    if (this.#seed !== null && !this.#seedTold) notes += `:seed ${this.#seed}\n`;
    this.#seedTold ||= this.#seed !== null;
    if (this.#tokens.size > 0) notes += `:tokens ${[...this.#tokens].map(([choice, tokens]) => `${choice}=${tokens.join()}`).join(" ")}\n`;
    this.#tokens.clear();
    if (this.#failed !== null) notes += `:failed ${this.#failed}\n`;
    return notes;
  }
}
