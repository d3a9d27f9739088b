/**
 * Which rows make up a group's next step: one of every running sequence; with the rows that are left as many as possible of those that are rebuilt; and then of
 * drafts, what is likely to bring more than it takes.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import type { Draft } from "../../core/speculation/draft_source.ts";
import type { TokenRow } from "../../core/wire/queries.ts";
import { chooseDrafts } from "./draft_planner.ts";
import { placesInLine } from "./queue_order.ts";
import type { DecodeGroup, Placement, Sequence } from "./state.ts";

/** Blocks that a sequence is given. */
export interface Growth {
  readonly sequence: number;
  readonly blocks: readonly number[];
}

/** Who is asked about: its last token, and each token of a draft behind it. */
export interface Asking {
  readonly placement: Placement;
  /** Tokens that are computed as if they had been chosen. */
  readonly drafted: readonly number[];
  /** Where they come from; null: nothing was proposed. */
  readonly draft: Draft | null;
}

/** The rows of a step. */
export interface PlannedRows {
  /** Those that something is asked about come last, in the order of `asking`: each placement's last token, then its draft. */
  readonly rows: readonly TokenRow[];
  readonly asking: readonly Asking[];
  readonly grow: readonly Growth[];
  /** Rows of each placement, without its draft. */
  readonly advanced: ReadonlyMap<Placement, number>;
}

/** @param preempt gives the blocks of a placement back, which waits again */
export function planRows(
  group: DecodeGroup,
  { stepRows, decodeBlockTokens: blockTokens }: { readonly stepRows: number; readonly decodeBlockTokens: number },
  preempt: (placement: Placement) => void,
): PlannedRows {
  const rows: TokenRow[] = [];
  const caughtUp: Placement[] = [];
  const grow: Growth[] = [];
  const advanced = new Map<Placement, number>();
  const places = placesInLine(Array.from(group.preemptible, ({ sequence }) => sequence));
  const batch = [...group.running].sort((a, b) => places.get(a.sequence)! - places.get(b.sequence)!);
  let spare = stepRows - batch.length;
  for (const placement of batch) {
    if (placement.released || !placement.alive || placement.sequence.paused) continue;
    const { pending } = placement;
    const count = Math.min(pending.length, 1 + spare);
    if (count === 0) continue;
    const missing = ceilDiv(placement.length + count, blockTokens) - placement.decodeBlocks.length;
    if (missing > 0) {
      if (!makeRoom(group, placement, missing, { places, planned: advanced, preempt })) continue;
      grow.push(growBy(group, placement, missing));
    }
    spare -= count - 1;
    // Of who has caught up, the last one is asked about, with what is drafted behind it.
    for (let i = 0; i < Math.min(count, pending.length - 1); i++) {
      rows.push({ sequence: placement.id, token: pending[i], position: placement.length + i });
    }
    if (count === pending.length) caughtUp.push(placement);
    advanced.set(placement, count);
  }
  const chosen = chooseDrafts(caughtUp, { rows: rows.length + caughtUp.length, most: stepRows, costs: group.costs });
  const asking = caughtUp.map((placement, i): Asking => {
    const { draft, count } = chosen[i];
    const end = placement.length + advanced.get(placement)!;
    const drafted = draft === null ? [] : draft.tokens.slice(0, roomBehind(group, placement, { end, wanted: count, blockTokens, grow }));
    [placement.pending.at(-1)!, ...drafted].forEach((token, k) => rows.push({ sequence: placement.id, token, position: end - 1 + k }));
    return { placement, draft, drafted };
  });
  return { rows, asking, grow, advanced };
}

/** How many tokens of a draft have room behind the first `end` of their sequence: see {@link hasRoomFor}. */
function roomBehind(
  group: DecodeGroup,
  placement: Placement,
  { end, wanted, blockTokens, grow }: { readonly end: number; readonly wanted: number; readonly blockTokens: number; readonly grow: Growth[] },
): number {
  const missing = ceilDiv(end + wanted, blockTokens) - placement.decodeBlocks.length;
  if (wanted > 0 && missing > 0 && hasRoomFor(group, missing)) grow.push(growBy(group, placement, missing));
  return Math.min(wanted, placement.decodeBlocks.length * blockTokens - end);
}

/** Whether blocks can be given to a draft: only where all others could have one as well. */
function hasRoomFor(group: DecodeGroup, blocks: number): boolean {
  return group.cache.canAllocate(blocks + group.running.size);
}

/** Gives a placement the blocks for `count` tokens behind what its group holds, for drafts; null where there is no room. */
export function growForDraft(group: DecodeGroup, placement: Placement, count: number, blockTokens: number): Growth[] | null {
  const missing = ceilDiv(placement.length + count, blockTokens) - placement.decodeBlocks.length;
  if (missing <= 0) return [];
  return hasRoomFor(group, missing) ? [growBy(group, placement, missing)] : null;
}

function growBy(group: DecodeGroup, placement: Placement, count: number): Growth {
  const blocks = group.cache.allocate(count);
  placement.decodeBlocks.push(...blocks);
  return { sequence: placement.id, blocks };
}

/** Preempts those that are last in line until `blocks` can be allocated. @returns false if `placement` was preempted itself */
function makeRoom(
  group: DecodeGroup,
  placement: Placement,
  blocks: number,
  { places, planned, preempt }: {
    readonly places: ReadonlyMap<Sequence, number>;
    readonly planned: ReadonlyMap<Placement, number>;
    readonly preempt: (placement: Placement) => void;
  },
): boolean {
  const place = ({ sequence }: Placement) => places.get(sequence)!;
  while (!group.cache.canAllocate(blocks)) {
    const others = [...group.preemptible].filter((other) => !planned.has(other) && other.uses === 0);
    const last = others.reduce((last, other) => place(other) > place(last) ? other : last, placement);
    preempt(last);
    if (last === placement) return false;
  }
  return true;
}
