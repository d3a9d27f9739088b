/**
 * Where texts of records are kept: what differs from one registry to another.
 *
 * @module
 */

/** Keeps texts by the ids of cells. */
export interface RecordStore {
  /** The text of a cell's record; null: there is none. @throws if it cannot be read */
  read(id: string): Promise<string | null>;
  /** @param instance who writes @throws if it cannot be written */
  write(id: string, text: string, instance: string): Promise<void>;
  /** Takes a record away, if there is one. */
  remove(id: string): Promise<void>;
}
