/**
 * Which rows make up a group's next step: one of every running sequence, and with the rows that are left as many as possible of those that are rebuilt.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import type { TokenRow } from "../../core/wire/queries.ts";
import { placesInLine } from "./queue_order.ts";
import type { DecodeGroup, Placement, Sequence } from "./state.ts";

/** The rows of a step. */
export interface PlannedRows {
  /** Those that something is asked about come last, in the order of `asking`. */
  readonly rows: readonly TokenRow[];
  readonly asking: readonly Placement[];
  readonly grow: readonly { readonly sequence: number; readonly blocks: readonly number[] }[];
  /** Rows of each placement. */
  readonly advanced: ReadonlyMap<Placement, number>;
}

/** @param preempt gives the blocks of a placement back, which waits again */
export function planRows(
  group: DecodeGroup,
  { stepRows, blockTokens }: { readonly stepRows: number; readonly blockTokens: number },
  preempt: (placement: Placement) => void,
): PlannedRows {
  const rows: TokenRow[] = [];
  const asked: TokenRow[] = [];
  const asking: Placement[] = [];
  const grow: { sequence: number; blocks: number[] }[] = [];
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
      const blocks = group.cache.allocate(missing);
      placement.decodeBlocks.push(...blocks);
      grow.push({ sequence: placement.id, blocks });
    }
    spare -= count - 1;
    for (let i = 0; i < count; i++) {
      const row = { sequence: placement.id, token: pending[i], position: placement.length + i };
      (i === pending.length - 1 ? asked : rows).push(row);
    }
    if (count === pending.length) asking.push(placement);
    advanced.set(placement, count);
  }
  return { rows: [...rows, ...asked], asking, grow, advanced };
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
