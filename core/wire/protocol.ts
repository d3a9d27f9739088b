/**
 * Numbers that both ends of a link must agree on.
 *
 * @module
 */

/** Raised whenever a frame changes meaning; peers of another version are refused by name. */
export const PROTOCOL_VERSION = 13;

/** Exchanges between ranks are counted up to here, then from 0 again. */
export const MOST_EXCHANGES = 2 ** 31;

/** Largest frame. */
export const MAX_FRAME_BYTES = 16 << 20;

/** Largest MessagePack part of a frame. */
export const MAX_HEADER_BYTES = 1 << 20;

/** Largest frame before a peer has proved who it is. */
export const MAX_HANDSHAKE_BYTES = 256;

/** A worker's process ends with this code when its coordinator has refused it: a new one would fare no better. Whatever else ends a link, it may mend. */
export const REFUSED_EXIT_CODE = 3;

/** And with this one when there is no place for it now: that is nobody's failure, and it may come again. */
export const LATER_EXIT_CODE = 4;

/** And with this one when something of its own host keeps it from joining: a device, a file or a setting that another process would find as it did. */
export const UNABLE_EXIT_CODE = 5;

/** What a worker says on standard error when its code has been loaded. */
export const STARTED_LINE = "started";

/** What a worker of another host says on standard error when its coordinator has let it in. */
export const JOINED_LINE = "joined the cluster";

/** Where the raw bytes of a frame may begin: typed arrays of any element can view them in place. */
export const PAYLOAD_ALIGNMENT = 128;

/** What a process is to the cluster. */
export const ROLES = ["worker", "prefill", "decode", "mixed"] as const;
/** What a process is to the cluster: a `worker` at the coordinator's door, what its unit does between workers. */
export type Role = (typeof ROLES)[number];
/** What a unit does: computes prompts and hands them over, generates, or both. */
export type UnitRole = "prefill" | "decode" | "mixed";
