/**
 * How much of a prompt is computed at a time. Long chunks read weights seldom, fill experts' tiles, and expand what comes before them seldom: keys and values that
 * are not kept are expanded once per chunk, which for V2-Lite at 32K is 29 % of all products with chunks of 512 tokens, and 5 % with chunks of 4096. They take
 * memory, and others wait for them.
 *
 * @module
 */
import { type DeviceKind, isHost } from "../device_kind.ts";
import { type ModelSpec, queryWidth } from "./spec.ts";

/** Sizes that prefill works in; what a position gets depends on the window, and not on the chunk. */
export interface PrefillSizes {
  /** Prompt tokens computed at a time. */
  readonly chunk: number;
  /** Positions whose keys and values are expanded at a time; windows begin at multiples of it. */
  readonly window: number;
  /** Windows at the beginning of a prompt whose keys and values are kept until it is computed, or another one is. */
  readonly keptWindows: number;
}

/** What a device offers. */
export interface PrefillDevice {
  readonly kind: DeviceKind;
  /** Largest part of a buffer that a kernel can see. */
  readonly maxBindingBytes: number;
  /** What a worker finds free before it loads anything; null if that cannot be told. */
  readonly freeBytes: number | null;
}

/** Positions of a window of what only decodes: working memory that nothing uses. */
export const UNUSED_WINDOW = 64;
/** Sizes that are tried, the best first. Beyond it, waiting grows and the rest does not. */
const SIZES: readonly number[] = [4096, 2048, 1024, 512];
/** What a CPU computes at a time, so that it hears others in between. */
const ON_HOST = { chunk: 64, window: 512 } as const;
/** Part of what is free that working memory may take: a tenth of it the window's, the rest the chunk's. */
const SHARE = 1 / 16;
const WINDOW_SHARE = 0.1;
/** Bytes of working memory where nothing is known of the device. */
const UNKNOWN = 2 ** 29;
/** Part of what is free that kept windows may take, and the most of them: each is bound in every layer. */
const KEPT_SHARE = 1 / 16;
const MOST_KEPT = 64;

/**
 * Chooses what is not given.
 *
 * @param given what was asked for
 * @param maxContext longest sequence
 */
export function choosePrefillSizes(
  spec: ModelSpec,
  { kind, maxBindingBytes, freeBytes }: PrefillDevice,
  given: Partial<Pick<PrefillSizes, "chunk" | "window">>,
  maxContext: number,
): PrefillSizes {
  const budget = freeBytes === null ? UNKNOWN : freeBytes * SHARE;
  const fitting = ({ all, largest }: WorkingBytes, most: number) =>
    SIZES.find((size) => size * all <= most && size * largest <= maxBindingBytes) ?? SIZES.at(-1)!;
  const chosen = isHost(kind) ? ON_HOST : {
    chunk: fitting(bytesPerRow(spec, maxContext), budget * (1 - WINDOW_SHARE)),
    window: fitting(bytesPerWindowPosition(spec), budget * WINDOW_SHARE),
  };
  const [chunk, window] = [Math.min(given.chunk ?? chosen.chunk, maxContext), Math.min(given.window ?? chosen.window, maxContext)];
  // Of a prompt's last chunk nothing is needed any more.
  const useful = Math.floor(Math.max(0, maxContext - 1) / window);
  const fit = Math.floor(
    Math.min(
      (freeBytes === null ? UNKNOWN : freeBytes * KEPT_SHARE) / bytesKept(spec),
      // A layer's are attended to at once.
      maxBindingBytes / bytesPerWindowPosition(spec).largest,
    ) / window,
  );
  return { chunk, window, keptWindows: chunk >= maxContext ? 0 : Math.min(useful, fit, MOST_KEPT) };
}

/** What a position takes whose keys and values are kept in all layers, in f32, as not all devices must. */
function bytesKept({ layers, heads, nopeWidth, valueWidth, rope }: ModelSpec): number {
  return layers * (heads * (nopeWidth + valueWidth) + rope.width) * 4;
}

/** Bytes of working memory. */
export interface WorkingBytes {
  readonly all: number;
  /** Of the largest buffer. */
  readonly largest: number;
}

/** What a row of a prefill step takes, on a rank that has the whole model; see `workers/forward/activations.ts`. @param maxContext longest sequence */
export function bytesPerRow(spec: ModelSpec, maxContext: number): WorkingBytes {
  const { hiddenSize, heads, latentWidth, valueWidth, rope, queryRank, moe, indexer } = spec;
  const experts = moe?.activeExperts ?? 0;
  const dense = Math.max(spec.denseLayers > 0 ? spec.denseWidth : 0, moe?.sharedWidth ?? 0);
  const floats = [
    hiddenSize,
    2 * (queryRank ?? 0),
    heads * queryWidth(spec),
    latentWidth + rope.width,
    heads * valueWidth,
    2 * dense,
    moe?.experts ?? 0,
    3 * experts,
    experts * (moe?.expertWidth ?? 0) * 2,
    experts * hiddenSize,
    // Of attention's splits and of those that are merged.
    heads * valueWidth,
    4 * heads,
    // Of sparse attention: queries, keys and weights, and a bit for each position.
    ...(indexer === null ? [] : [indexer.heads * indexer.width, indexer.width, indexer.heads, maxContext / 32]),
  ];
  const rounded = Math.max(hiddenSize, queryRank ?? 0, heads * valueWidth, dense, experts * (moe?.expertWidth ?? 0)) * 2;
  // What norms give is also in f16 where decode runs on matrix units.
  const normed = (hiddenSize + (queryRank ?? 0)) * 2;
  // Of the first kind there are three, and four words tell what a row is.
  const all = (2 * hiddenSize + 4 + floats.reduce((sum, count) => sum + count, 0)) * 4 + rounded + normed;
  return { all, largest: Math.max(...floats) * 4 };
}

/** What a position of a window takes, on a rank that has all heads and attends in f32, as not all devices must. */
export function bytesPerWindowPosition({ heads, latentWidth, nopeWidth, valueWidth, rope }: ModelSpec): WorkingBytes {
  const floats = [latentWidth, rope.width, heads * nopeWidth, heads * valueWidth];
  return { all: floats.reduce((sum, count) => sum + count, 0) * 4, largest: Math.max(...floats) * 4 };
}
