/**
 * What a coordinator gives a rank once, for queries to refer to: lists of adjustments, and masks of grammars.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { RequestOf } from "../../core/wire/messages.ts";
import { decodeTables, type QueryFrame } from "../../core/wire/queries.ts";
import { AdjustmentBase, AdjustmentList } from "../forward/adjustment_list.ts";
import type { HeadQuery } from "../forward/logits_head.ts";

/** Tables of one epoch. */
export class LogitTables {
  readonly #bases = new Map<number, AdjustmentBase>();
  readonly #masks = new Map<number, Uint32Array>();

  /** Takes new ones in. @throws {LatentmeshError} `protocol` if they are not what was announced */
  take({ forget, adjustments, masks }: Pick<RequestOf<"tables">, "forget" | "adjustments" | "masks">, payload: Uint8Array<ArrayBuffer>): void {
    const tables = decodeTables(payload, adjustments.map(({ count }) => count), masks.map(({ words }) => words));
    for (const id of forget) {
      this.#bases.delete(id);
      this.#masks.delete(id);
    }
    adjustments.forEach(({ table }, i) => this.#bases.set(table, new AdjustmentBase(tables.adjustments[i])));
    masks.forEach(({ table }, i) => this.#masks.set(table, tables.masks[i]));
  }

  /** An epoch is over. */
  clear(): void {
    this.#bases.clear();
    this.#masks.clear();
  }

  /** A query behind a draft. @param held of its sequence, which stay as they are @throws {LatentmeshError} `protocol` if there is no such table, or it begins with another */
  resolveAhead({ base, changes, mask, ...query }: QueryFrame, held: AdjustmentList): HeadQuery {
    if (base !== null) throw new LatentmeshError("protocol", "A query behind a draft does not begin its adjustments anew");
    return { ...query, adjustments: held.ahead(changes), mask: mask === null ? null : known(this.#masks, mask) };
  }

  /** A query with what it refers to. @param held of its sequence, which it changes @throws {LatentmeshError} `protocol` if there is no such table */
  resolve({ base, changes, mask, ...query }: QueryFrame, held: AdjustmentList): HeadQuery {
    if (base !== null) held.restart(base === 0 ? AdjustmentBase.EMPTY : known(this.#bases, base));
    for (const adjustment of changes) held.set(adjustment);
    return { ...query, adjustments: held, mask: mask === null ? null : known(this.#masks, mask) };
  }
}

function known<T>(tables: ReadonlyMap<number, T>, id: number): T {
  const table = tables.get(id);
  if (table === undefined) throw new LatentmeshError("protocol", `There is no table ${id}`);
  return table;
}
