/**
 * Which directions of one layer's latent each latent group has, as values and as keys.
 *
 * With a halo, values are equal blocks, and keys are the block and the first r directions: the first group, whose block begins with those, caches fewer than others.
 * With a width, all cache as many, which is what a token takes of a cache whose ranks hold equally many tokens. The first group then has as values whatever it
 * has as keys, so that blocks of others are smaller, and they have more of the first directions for it.
 *
 * @module
 */
import type { Range } from "../model/matrix_source.ts";
import { scaleGroups } from "./scale_groups.ts";

/** What one latent group has of a layer. Ranges are half-open. */
export interface LatentColumns {
  /** K_i, ascending: one or two ranges of latent directions. */
  readonly keyColumns: readonly Range[];
  /** |K_i| */
  readonly keyWidth: number;
  /** Widths of the parts of K_i that share a scale where latents are cached in eight bits. */
  readonly scaleGroups: readonly number[];
  /** S_i */
  readonly valueColumns: Range;
  /** Where S_i begins among the columns of K_i. */
  readonly valueOffset: number;
}

/** How one layer is cut. */
export interface LayerCut {
  /** g */
  readonly latentGroups: number;
  /** r: directions that every group has as keys. */
  readonly halo: number;
  /** |K_i| of every group, instead. */
  readonly width?: number;
}

/** Most directions by which blocks and widths differ: what kernels for matrix units take at a time. */
const WIDEST_STEP = 16;

/** Directions in which blocks and widths are counted, so that kernels run at their best: a power of two that divides the latent, and leaves each group some. */
export function widthStep(latentWidth: number, latentGroups: number): number {
  let step = WIDEST_STEP;
  while (step > 1 && (latentWidth % step !== 0 || latentWidth / step < latentGroups)) step /= 2;
  return step;
}

/** Widths that a layer can have, ascending; the last is the whole latent, with which attention is exact. */
export function possibleWidths(latentWidth: number, latentGroups: number): number[] {
  const step = widthStep(latentWidth, latentGroups);
  const widths: number[] = [];
  for (let width = step; width <= latentWidth; width += step) if (valueBlocks(latentWidth, latentGroups, width) !== null) widths.push(width);
  return widths;
}

/**
 * Cuts one layer.
 *
 * @param handed how those cut it that latents are handed to: what shares a scale does not lie on both sides of a cut of theirs
 * @returns by latent group; null if groups of that width cannot have the whole latent between them
 */
export function latentColumns(latentWidth: number, cut: LayerCut, handed: LayerCut = cut): LatentColumns[] | null {
  const [own, theirs] = [columnsOf(latentWidth, cut), columnsOf(latentWidth, handed)];
  if (own === null || theirs === null) return null;
  const cuts = theirs.flatMap(({ keys, values }) => [...keys, values]).flatMap(({ begin, end }) => [begin, end]);
  return own.map(({ keys, values }): LatentColumns => {
    const [first, second] = keys;
    return {
      keyColumns: keys,
      keyWidth: keys.reduce((sum, { begin, end }) => sum + end - begin, 0),
      scaleGroups: scaleGroups(keys, cuts),
      valueColumns: values,
      valueOffset: second === undefined ? values.begin - first.begin : first.end - first.begin,
    };
  });
}

/** Block `index` of `count` nearly equal consecutive blocks; the first ones are longer by one where the width does not divide. */
export function blockOf(width: number, count: number, index: number): Range {
  const [size, longer] = [Math.floor(width / count), width % count];
  const begin = index * size + Math.min(index, longer);
  return { begin, end: begin + size + (index < longer ? 1 : 0) };
}

interface Columns {
  readonly keys: readonly Range[];
  readonly values: Range;
}

function columnsOf(latentWidth: number, { latentGroups, halo, width }: LayerCut): Columns[] | null {
  if (width === undefined) {
    return equalBlocks(latentWidth, latentGroups).map((values) => ({ keys: withFirst(values, halo), values }));
  }
  return valueBlocks(latentWidth, latentGroups, width)?.map((values) => {
    const rest = width - (values.end - values.begin);
    // Directions of its own block count once: behind it, others follow.
    return { keys: withFirst(values, rest <= values.begin ? rest : width), values };
  }) ?? null;
}

function equalBlocks(latentWidth: number, count: number): Range[] {
  return Array.from({ length: count }, (_, index) => blockOf(latentWidth, count, index));
}

/** S_i where all have such a width; null if some would have none, or more values than keys. */
function valueBlocks(latentWidth: number, latentGroups: number, width: number): Range[] | null {
  if (width > latentWidth || width * latentGroups < latentWidth) return null;
  // Where all have everything, nothing speaks against equal shares of the work.
  if (width === latentWidth) return equalBlocks(latentWidth, latentGroups);
  const step = widthStep(latentWidth, latentGroups);
  const first = Math.min(width, latentWidth - (latentGroups - 1) * step);
  const steps = Math.floor((latentWidth - first) / step);
  const blocks = [{ begin: 0, end: first }];
  for (let group = 1; group < latentGroups; group++) {
    const { end } = blockOf(steps, latentGroups - 1, group - 1);
    blocks.push({ begin: blocks[group - 1].end, end: group === latentGroups - 1 ? latentWidth : first + end * step });
  }
  return blocks.every(({ begin, end }) => end > begin && end - begin <= width) ? blocks : null;
}

/** The block and the first `count` directions, ascending, as one range where they meet. */
function withFirst(block: Range, count: number): readonly Range[] {
  if (count === 0) return [block];
  if (count >= block.begin) return [{ begin: 0, end: Math.max(count, block.end) }];
  return [{ begin: 0, end: count }, block];
}
