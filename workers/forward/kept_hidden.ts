/**
 * Hidden states of the last positions of every sequence, as logits are made of them: what drafts of the next step begin with is known only when it has been said
 * which of the tokens of this one are right.
 *
 * @module
 */
import { MOST_DRAFTED } from "../../core/speculation/draft_source.ts";
import { NOT_KEPT } from "../../kernels/keep_hidden/keep_hidden.ts";
import { FROM_STREAM, NO_HIDDEN } from "../../kernels/mtp_join/mtp_join.ts";
import type { Device, DeviceBuffer } from "../../kernels/device/device.ts";
import type { CachedSequence } from "./latent_cache.ts";

/** Positions of each sequence: one that was asked for, and a draft behind it. */
const HIDDEN_KEPT = MOST_DRAFTED + 1;

/** Where rows of a step find the hidden state before them, and where theirs go: [rows, 2] words, see `mtp_join` and `keep_hidden`. */
export type Places = Uint32Array<ArrayBuffer>;

/** What of a step's rows says where they belong. */
interface PlacedRows {
  readonly rows: readonly { readonly position: number; readonly sequence: CachedSequence }[];
}

/** Of all sequences of a cache. */
export class KeptHidden {
  /** [sequences, {@link HIDDEN_KEPT}, D] */
  readonly buffer: DeviceBuffer;
  /** Rows of it. */
  readonly capacity: number;

  /** @param width D */
  constructor(device: Device, sequences: number, width: number) {
    this.capacity = sequences * HIDDEN_KEPT;
    this.buffer = device.createBuffer("kept hidden states", this.capacity * width * 4);
  }

  /**
   * The places of a step's rows. A position whose hidden state nobody has computed here, before a prompt or behind what another has computed, has none.
   *
   * @param streams whether the step has computed hidden states, so that those of its own rows are in the residual stream
   */
  places({ rows }: PlacedRows, streams: boolean): Places {
    const places = new Uint32Array(rows.length * 2);
    const last = new Map<CachedSequence, number>();
    for (const { sequence, position } of rows) last.set(sequence, position);
    const before = new Map<CachedSequence, number>();
    rows.forEach(({ sequence, position }, row) => {
      const own = streams ? before.get(sequence) : undefined;
      places[row * 2] = own === undefined ? this.#placeBefore(sequence, position) : FROM_STREAM + own;
      places[row * 2 + 1] = position > last.get(sequence)! - HIDDEN_KEPT ? placeOf(sequence, position) : NOT_KEPT;
      before.set(sequence, row);
    });
    return places;
  }

  /** Those of a step's rows are kept. */
  note({ rows }: PlacedRows): void {
    for (const { sequence, position } of rows) {
      const { hidden } = sequence;
      const follows = position >= hidden.first && position <= hidden.end;
      hidden.first = Math.max(follows ? hidden.first : position, position + 1 - HIDDEN_KEPT);
      hidden.end = position + 1;
    }
  }

  #placeBefore(sequence: CachedSequence, position: number): number {
    const { first, end } = sequence.hidden;
    return position > first && position <= end ? placeOf(sequence, position - 1) : NO_HIDDEN;
  }
}

function placeOf({ ordinal }: CachedSequence, position: number): number {
  return ordinal * HIDDEN_KEPT + position % HIDDEN_KEPT;
}
