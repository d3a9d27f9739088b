/**
 * Everything processes say to each other once they have authenticated. Parsed where a frame arrives; inside, types are trusted.
 *
 * @module
 */
import { CACHE_DTYPES, type CacheDtype, INDEX_DTYPES, type IndexDtype } from "../cache/cache_dtype.ts";
import { DEVICE_KINDS } from "../device_kind.ts";
import { z } from "zod";
import { LatentmeshError } from "../errors.ts";
import { LOAD_PARTS, type LoadTimes } from "./load_times.ts";
import { statsSchema } from "./stats_schema.ts";

const count = z.int().min(0).max(2 ** 31);
const epoch = count.describe("membership of a unit; frames of an older one are refused");
const name = z.string().min(1).max(64);
const address = z.string().min(1).max(256);
const hash = z.string().length(64);

/** A secret that the coordinator issues for one link. */
const secret = z.instanceof(Uint8Array).refine((bytes) => bytes.byteLength === 32, "must have 32 bytes");

/** What a worker says of itself when it has joined. */
export const helloSchema = z.strictObject({
  kind: z.literal("hello"),
  host: name.describe("machine, for people and placement"),
  pid: count.describe("process, for people"),
  address: address.describe("where peers reach it"),
  device: z.strictObject({
    kind: z.enum(DEVICE_KINDS),
    description: z.string().max(256),
    maxBindingBytes: z.number().positive().describe("largest part of a buffer that a kernel can see"),
    advice: z.string().max(1024).nullish().describe("what would make more of the machine, for people"),
  }),
  modelHash: hash,
  basisHash: hash.nullable(),
});
/** What a worker says of itself when it has joined. */
export type Hello = z.output<typeof helloSchema>;

const cutSchema = z.strictObject({
  ranks: count.min(1),
  latentGroups: count.min(1),
  halo: count,
  widths: z.array(count.min(1)).min(1).max(1024).optional().describe("directions that every rank caches of each layer, instead of a halo"),
  tokenShares: count.min(1).max(64).optional().describe("ranks that share latents of a latent group by tokens; without it, none do"),
  feedForward: z.enum(["sharded", "replicated"]),
});

/** What one rank is to be. */
export const assignmentSchema = z.strictObject({
  role: z.enum(["prefill", "decode", "mixed"]),
  unit: name,
  rank: count,
  cut: cutSchema.describe("how the ranks of this unit share the model"),
  decode: cutSchema.describe("how decode groups are cut: what prefill hands over"),
  basis: z.strictObject({ kind: z.enum(["identity", "hadamard", "pca", "balanced"]), lambda: z.number() }).nullable(),
  paper: z.boolean(),
  mu: z.number(),
  mtp: z.boolean().describe("whether the layer that drafts is loaded, and what it needs is cached and handed over"),
  weights: z.enum(["keep", "q8", "q4"]),
  cacheDtype: z.enum(CACHE_DTYPES),
  indexDtype: z.enum(INDEX_DTYPES).optional().describe(
    "precision of cached index keys; without it, that of latents, or f16 where they are in eight bits",
  ),
  maxTokens: count,
  maxContext: count,
  maxSequences: count.min(1),
  promptCache: z.strictObject({ maxTokens: count, maxSequences: count.min(1) }).nullish().describe(
    "whole latents of prompts, of a mixed unit whose ranks keep slices to generate from, as `cut` has them; without it, it generates from where it computes",
  ),
  limits: z.strictObject({ prefillRows: count, decodeRows: count, window: count, keptWindows: count.max(1024).optional(), logitRows: count }),
  lanes: z.union([z.literal(1), z.literal(2)]).describe("halves of a step that run side by side"),
  wire: z.enum(["f32", "f16"]),
  exchange: z.enum(["auto", "shared-memory", "websocket"]).describe("how ranks of the unit give each other their parts"),
  deadlineMs: z.number().positive(),
});
/** What one rank is to be. */
export type Assignment = z.output<typeof assignmentSchema>;

const peerSchema = z.strictObject({ worker: name, rank: count, address, secret });
/** Another rank, and the secret of the link to it. */
export type Peer = z.output<typeof peerSchema>;

const feederSchema = z.strictObject({ worker: name, secret });
/** A prefill worker that will hand prompts over. */
export type Feeder = z.output<typeof feederSchema>;

/** Blocks of a cache, as many as the longest context has. */
const blockList = z.array(count).max(1 << 16);
/** Layers, half-open. */
const layersSchema = z.strictObject({ first: count, end: count.min(1) });

/** What the coordinator asks of a worker; each has one reply with the same id. */
export const requestSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("assign"), id: count, assignment: assignmentSchema }),
  z.strictObject({ kind: z.literal("join"), id: count, epoch, peers: z.array(peerSchema).max(64) }),
  z.strictObject({ kind: z.literal("connect"), id: count, epoch }),
  z.strictObject({ kind: z.literal("feed"), id: count, epoch, feeder: feederSchema }),
  z.strictObject({ kind: z.literal("attach"), id: count, group: name, epoch, ranks: z.array(peerSchema).max(64) }),
  z.strictObject({
    kind: z.literal("open"),
    id: count,
    epoch,
    sequence: count,
    tokens: count.describe("length of the prompt"),
    from: count.describe("first position that will be handed over; blocks before it are shared"),
    blocks: blockList,
  }),
  /** One prefill chunk. Payload: see `core/wire/queries.ts`. */
  z.strictObject({
    kind: z.literal("prefill"),
    id: count,
    epoch,
    sequence: count,
    begin: z.strictObject({
      length: count.describe("tokens of the whole prompt, which decide how those of some models are rotated"),
      blocks: blockList.describe("of the whole prompt; those before `start` hold its beginning already"),
      target: z.strictObject({
        group: name,
        epoch,
        from: count.describe("first position to hand over"),
        silentMs: z.number().positive().describe("how long one of its ranks may leave latents unacknowledged"),
      }).nullable(),
      stays: z.boolean().describe("it is generated from here: its blocks are not given back after the last chunk"),
      slices: z.strictObject({
        tokens: count.describe("length of the prompt"),
        from: count.describe("first position that is taken; blocks before it are shared"),
        blocks: blockList,
      }).nullish().describe("where this rank keeps its slices of it, in the cache that it generates from, see `promptCache`"),
    }).nullable().describe("given with the first chunk"),
    start: count,
    tokens: count.min(1).describe("they come with the first layers"),
    layers: layersSchema.describe(
      "which are computed now: a mixed unit runs steps between those of a chunk; what is asked is asked with the last ones",
    ),
    last: z.boolean(),
    awaited: z.boolean().describe("whether the answer waits for the device; if not, what is asked next is computed behind it"),
    asks: count.describe("queries of the last position"),
    promptLogprobs: count.nullable(),
    following: count.nullable().describe("the token after this chunk, where log-probabilities are wanted"),
  }),
  /** Answered when every decode rank has acknowledged its share of a prompt whose last chunk is computed. */
  z.strictObject({ kind: z.literal("handed"), id: count, epoch, sequence: count }),
  /** One decode step of any sequences; the last rows are those that something is asked about. Payload: see `core/wire/queries.ts`. */
  z.strictObject({
    kind: z.literal("step"),
    id: count,
    epoch,
    rows: count.min(1),
    asks: count,
    forks: z.array(
      z.strictObject({
        sequence: count,
        from: count,
        tokens: count,
        blocks: blockList.describe("after the whole blocks of `tokens`, which it shares with `from`"),
      }),
    ),
    behind: z.strictObject({ sequence: count, start: count, layers: layersSchema }).nullable().describe(
      "the next layers of a chunk, of a mixed unit of one rank: they are begun with while the step is computed, and not waited for",
    ),
    grow: z.array(z.strictObject({ sequence: count, blocks: blockList })),
  }),
  /**
   * A draft of the token behind each row, by the layer that drafts: of a token that has been chosen, or of one that it has drafted itself. Nothing of it stays when a
   * step says otherwise. Every row is asked about. Payload: see `core/wire/queries.ts`.
   */
  z.strictObject({
    kind: z.literal("draft"),
    id: count,
    epoch,
    rows: count.min(1),
    ahead: z.boolean().describe("whether the rows' tokens are drafts themselves"),
    grow: z.array(z.strictObject({ sequence: count, blocks: blockList })),
  }),
  /** What queries of chunks, steps and drafts refer to from now on. Payload: see `core/wire/queries.ts`. */
  z.strictObject({
    kind: z.literal("tables"),
    id: count,
    epoch,
    forget: z.array(count),
    adjustments: z.array(z.strictObject({ table: count.min(1), count })),
    masks: z.array(z.strictObject({ table: count.min(1), words: count })),
  }),
  z.strictObject({ kind: z.literal("row"), id: count, epoch, index: count.describe("which of the last asks") }),
  z.strictObject({ kind: z.literal("close"), id: count, epoch, sequences: z.array(count) }),
  z.strictObject({ kind: z.literal("probe"), id: count, epoch }),
  z.strictObject({ kind: z.literal("stats"), id: count }),
  /** What its files hold, to the last byte. Answered when they have been read, which takes minutes. */
  z.strictObject({ kind: z.literal("digest"), id: count }),
]);
/** What the coordinator asks of a worker. */
export type Request = z.output<typeof requestSchema>;
/** A request of one kind, without its id. */
export type RequestOf<K extends Request["kind"]> = Omit<Extract<Request, { kind: K }>, "id" | "kind">;

const loadTimesSchema: z.ZodType<LoadTimes> = z.partialRecord(z.enum(LOAD_PARTS), z.number().min(0));

/** What a worker answers. */
export const replySchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("done"), id: count }),
  z.strictObject({
    kind: z.literal("connected"),
    id: count,
    by: z.enum(["memory", "shared-memory", "websocket"]).describe("how the unit's ranks exchange their parts"),
    notShared: z.string().max(1024).nullable().describe("why not through shared memory, where that was tried"),
    notThreaded: z.string().max(1024).nullable().describe("why not in a thread of their own, where that was tried"),
  }),
  /** Not the reply yet, but a sign that it comes nearer. */
  z.strictObject({ kind: z.literal("working"), id: count }),
  z.strictObject({ kind: z.literal("assigned"), id: count, weightBytes: z.number(), cacheBytesPerToken: z.number(), times: loadTimesSchema }),
  /** Payload: see `core/wire/queries.ts`. */
  z.strictObject({
    kind: z.literal("candidates"),
    id: count,
    sums: count.max(1 << 15).describe("of how many sums it is told how long they took"),
  }),
  /** Payload: f32 logits of this rank's part of the vocabulary. */
  z.strictObject({ kind: z.literal("row"), id: count }),
  z.strictObject({ kind: z.literal("stats"), id: count, stats: statsSchema }),
  /** Payload: see `core/model/contents.ts`. */
  z.strictObject({ kind: z.literal("digests"), id: count }),
  z.strictObject({
    kind: z.literal("failed"),
    id: count,
    code: z.string().max(64),
    message: z.string().max(4096),
    silent: name.nullable().describe("worker that did not answer it"),
    unit: z.strictObject({ name, epoch }).nullable().describe("unit that is to blame, where it is another"),
  }),
]);
/** What a worker answers. */
export type Reply = z.output<typeof replySchema>;

/** What a worker says without being asked. */
export const noticeSchema = z.discriminatedUnion("kind", [
  helloSchema,
  z.strictObject({ kind: z.literal("progress"), loadedBytes: z.number(), totalBytes: z.number() }),
  z.strictObject({ kind: z.literal("trouble"), epoch, message: z.string().max(4096), silent: name.nullable() }),
]);
/** What a worker says without being asked. */
export type Notice = z.output<typeof noticeSchema>;

const tensorFields = {
  epoch,
  shape: z.array(count).min(1).max(4),
  byteLength: count,
};

/** What workers send each other. */
export const peerFrameSchema = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("partial"),
    lane: z.int().min(0).max(1).describe("which half of a step it belongs to"),
    turn: count.describe("number of the exchange in its lane since the epoch began"),
    dtype: z.enum(["f32", "f16"]),
    ...tensorFields,
  }),
  z.strictObject({
    kind: z.literal("latents"),
    sequence: count,
    layers: z.tuple([count, count]).describe("half-open"),
    range: z.tuple([count, count]).describe("tokens of each layer, half-open, counted among those that the rank keeps"),
    at: count.optional().describe("where they lie in memory that both share, see workers/handoff/handoff_window.ts; without it, behind the message"),
    dtype: z.enum([...CACHE_DTYPES, "fp8"]),
    ...tensorFields,
  }),
  /** How ranks of one host come to share memory, see workers/collective/share_memory.ts, and prefill workers and decode ranks, see workers/handoff/handoff_window.ts. */
  z.strictObject({
    kind: z.literal("segment"),
    epoch,
    segment: z.strictObject({ path: z.string().max(256), bytes: z.number().min(0), key: secret }).nullable().describe("null: there is none"),
  }),
  z.strictObject({ kind: z.literal("mapped"), epoch, problem: z.string().max(512).nullable() }),
  z.strictObject({ kind: z.literal("shared"), epoch, problem: z.string().max(1024).nullable() }),
  /** Where a rank's thread of sums listens; see workers/collective/sum_thread.ts. */
  z.strictObject({ kind: z.literal("sums"), epoch, address: address.nullable().describe("null: it has none") }),
  z.strictObject({ kind: z.literal("ack"), epoch, sequence: count, bytes: count }),
  z.strictObject({ kind: z.literal("rejected"), epoch, sequence: count, message: z.string().max(1024) }),
]);
/** What workers send each other. */
export type PeerFrame = z.output<typeof peerFrameSchema>;
/** One kind of it. */
export type PeerFrameOf<K extends PeerFrame["kind"]> = Extract<PeerFrame, { kind: K }>;

/** Bytes of one value on the wire; latents in eight bits are sent as the bytes that they lie in, scales and rotated keys among them. */
export function dtypeBytes(dtype: CacheDtype | IndexDtype): number {
  return { f32: 4, f16: 2, q8: 1, fp8: 1 }[dtype];
}

/**
 * Parses what a peer sent.
 *
 * @throws {LatentmeshError} `protocol` that names the field
 */
export function parseMessage<S extends z.ZodType>(schema: S, message: unknown): z.output<S> {
  const parsed = schema.safeParse(message);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new LatentmeshError("protocol", `Cannot use a message: ${issue.path.join(".") || "kind"}: ${issue.message}`);
}
