/**
 * What a rank and its thread of sums say to each other besides what goes through their mailbox: how it begins and how it ends.
 *
 * @module
 */
import type { ErrorCode } from "../../core/errors.ts";
import type { Peer } from "../../core/wire/messages.ts";
import type { Role } from "../../core/wire/protocol.ts";
import type { TlsFiles } from "../../core/wire/transport.ts";
import type { MailboxShape } from "./sum_mailbox.ts";

/** What a thread sums, with whom. */
export interface SumThreadOptions {
  readonly worker: string;
  readonly role: Role;
  readonly rank: number;
  readonly epoch: number;
  readonly shape: MailboxShape;
  /** A rank that is silent for longer ends the step. */
  readonly deadlineMs: number;
  /** Whether the host has processors to spare: then one is kept busy with waiting, for microseconds, in steps. */
  readonly spare: boolean;
  /** Where its sockets are. */
  readonly listen: string;
  readonly tls: TlsFiles;
  /** Every other rank, in rank order; the secret is that of their link. */
  readonly peers: readonly Pick<Peer, "rank" | "worker" | "secret">[];
}

/** To the thread. */
export type ToSumThread =
  | { readonly kind: "open"; readonly options: SumThreadOptions; readonly memory: SharedArrayBuffer }
  /** Where the threads of all lower ranks listen, in rank order. */
  | { readonly kind: "link"; readonly lower: readonly string[] };

/** Why something failed, as it travels between threads. */
export interface ThreadFailure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly silent: string | null;
}

/** From the thread. */
export type FromSumThread =
  | { readonly kind: "listening"; readonly address: string }
  | { readonly kind: "linked" }
  /** A link ended because somebody broke protocol. */
  | { readonly kind: "broken"; readonly worker: string; readonly message: string }
  /** There are no sums any more. */
  | { readonly kind: "failed"; readonly failure: ThreadFailure };
