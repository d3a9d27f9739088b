/**
 * The cells that a front knows, what they have to do, and who gets what.
 *
 * @module
 */
import type { CellRecord } from "../../core/registry/cell_record.ts";
import { hash32, Rendezvous } from "../../core/registry/rendezvous.ts";
import { HttpError, noSuchModel, quoted } from "../api/errors.ts";
import type { FrontRequest } from "./front_request.ts";

/** Names of beginnings of prompts that are remembered. */
const MOST_REMEMBERED = 1 << 17;

/** Fronts that may be reckoned with. */
const MOST_FRONTS = 64;

/** Why a cell got a request. */
export type RoutingReason = "remembered" | "hinted" | "rendezvous" | "spilled";

/** A cell that is to have a request. */
export interface Route {
  readonly cell: CellRecord;
  readonly reason: RoutingReason;
}

/** What a request wants of a cell. */
export interface Wanted {
  /** Cells that have failed it. */
  readonly tried: ReadonlySet<string>;
  /** Which of the others will do; default: all. */
  readonly accepts?: (cell: CellRecord) => boolean;
}

/** Cells of one model that take requests. */
interface Group {
  readonly cells: readonly CellRecord[];
  readonly places: ReadonlyMap<string, number>;
  readonly table: Rendezvous;
  /** Cells that hold prefixes which are others' by rendezvous. */
  readonly hints: ReadonlyMap<string, string>;
}

/** Cells. */
export class FrontCells {
  /** All that live. */
  all: readonly CellRecord[] = [];
  /** Models that some cell serves, or will: a cell of each. */
  models: readonly CellRecord[] = [];
  #groups = new Map<string, Group>();
  /** Requests of this front, by cell. */
  readonly #own = new Map<string, number>();
  /** Requests of all fronts for each of this one: others send, meanwhile, what this one sends, and are heard of only with the next record. */
  #share = 1;
  /** Requests of others when a cell's record was last read. */
  readonly #others = new Map<string, { readonly record: CellRecord; readonly load: number }>();
  /** Cells that could not be reached, until they beat again. */
  readonly #aside = new Map<string, CellRecord>();
  /** Cells that have not answered, until they do: that they beat says only that they reach the registry. */
  readonly #silent = new Map<string, CellRecord>();
  /** Which cell has had which beginning of a prompt; the longest unused first. */
  readonly #remembered = new Map<string, string>();

  /** Takes in what is known of cells now. */
  update(cells: readonly CellRecord[]): void {
    this.all = cells;
    // Not for every request: cells may be thousands.
    this.models = [...Map.groupBy(cells.filter(({ state }) => state !== "loading"), ({ model }) => model).values()].map(([first]) => first);
    const models = Map.groupBy(cells.filter(({ state }) => state === "ready"), ({ model }) => model);
    const lives = new Map(cells.map((cell) => [cell.id, cell]));
    for (const id of this.#others.keys()) if (!lives.has(id)) this.#others.delete(id);
    for (const [id, record] of this.#silent) if (lives.get(id)?.instance !== record.instance) this.#silent.delete(id);
    for (const [id, record] of this.#aside) if (lives.get(id)?.beat !== record.beat) this.#aside.delete(id);
    const reported = cells.reduce((sum, { load }) => sum + load.running + load.waiting, 0);
    const own = this.#own.values().reduce((sum, requests) => sum + requests, 0);
    this.#share = own === 0 ? 1 : Math.min(MOST_FRONTS, Math.max(1, reported / own));
    this.#groups = new Map([...models].map(([model, cells]) => [model, this.#group(cells)]));
  }

  /** Whether any cell takes requests. */
  get ready(): boolean {
    return [...this.#groups.values()].some(({ cells }) => cells.some((cell) => this.#isThere(cell)));
  }

  /** Requests of this front at a cell. */
  running(id: string): number {
    return this.#own.get(id) ?? 0;
  }

  /** Whether a cell lives, and is the process that it was. */
  lives({ id, instance }: CellRecord): boolean {
    return this.all.some((cell) => cell.id === id && cell.instance === instance);
  }

  /**
   * The cell for a request. Who had its prompt's beginning before has it again, unless that one has much more to do than others.
   *
   * @returns null where no cell will do
   * @throws {HttpError} 404 if no cell serves the model, 400 if it must say which, 503 if none can be had now
   */
  choose(request: Pick<FrontRequest, "model" | "prefixes" | "key">, { tried, accepts = () => true }: Wanted): Route | null {
    const { cells, places, table, hints } = this.#groupFor(request.model);
    const isExcluded = (index: number) => {
      const cell = cells[index];
      return tried.has(cell.id) || !this.#isThere(cell) || !accepts(cell);
    };
    const usable = (id: string | undefined) => {
      const index = id === undefined ? undefined : places.get(id);
      return index !== undefined && !isExcluded(index) && table.hasRoom(index) ? cells[index] : null;
    };
    for (let i = request.prefixes.length - 1; i >= 0; i--) {
      const cell = usable(this.#remembered.get(request.prefixes[i]));
      if (cell !== null) return { cell, reason: "remembered" };
    }
    const hinted = usable(hints.get(request.key));
    if (hinted !== null) return { cell: hinted, reason: "hinted" };
    const decision = table.choose(hash32(request.key), isExcluded);
    return decision === null ? null : { cell: cells[decision.cell], reason: decision.spilled ? "spilled" : "rendezvous" };
  }

  /** A request begins at a cell. @returns what is told when it ends there */
  begin({ id, model }: CellRecord, prefixes: readonly string[]): () => void {
    for (const name of prefixes) this.#remember(name, id);
    this.#add(model, id, 1);
    let ended = false;
    return () => {
      if (!ended) this.#add(model, id, -1);
      ended = true;
    };
  }

  /** A cell could not be reached: it gets nothing until it beats again. */
  putAside(cell: CellRecord): void {
    const now = this.all.find(({ id }) => id === cell.id);
    if (now?.instance === cell.instance) this.#aside.set(cell.id, now);
  }

  /** Cells that are registered and do not answer. */
  get silent(): readonly CellRecord[] {
    return [...this.#silent.values()];
  }

  /** A cell does not answer, and gets nothing until it does. @returns whether that is news */
  fallSilent(cell: CellRecord): boolean {
    if (this.#silent.has(cell.id) || !this.lives(cell)) return false;
    this.#silent.set(cell.id, cell);
    return true;
  }

  /** A cell answers. @returns whether that is news */
  heardOf({ id }: CellRecord): boolean {
    return this.#silent.delete(id);
  }

  /** What is known now of a process. */
  latest(cell: CellRecord): CellRecord {
    return this.all.find(({ id, instance }) => id === cell.id && instance === cell.instance) ?? cell;
  }

  #isThere({ id }: CellRecord): boolean {
    return !this.#aside.has(id) && !this.#silent.has(id);
  }

  #groupFor(model: string | undefined): Group {
    const known = this.models;
    if (model === undefined && known.length > 1) {
      const names = quoted(known.map(({ model }) => model));
      throw new HttpError(400, `Several models are served here, so "model" must say which: ${names}`, { param: "model", code: "missing_model" });
    }
    const name = model ?? known[0]?.model;
    const group = name === undefined ? undefined : this.#groups.get(name);
    if (group !== undefined) return group;
    if (known.length > 0 && !known.some(({ model }) => model === name) && !this.all.some(({ model }) => model === name)) {
      throw noSuchModel(name!, `served here: ${quoted(known.map(({ model }) => model))}`);
    }
    const loading = this.all.some(({ state, model }) => state === "loading" && (name === undefined || model === name));
    const why = loading ? "cells are still loading" : this.all.length === 0 ? "no cell is registered" : "the cells that serve it are stopping";
    throw new HttpError(503, `No cell takes requests now: ${why}`, { code: loading ? "loading" : "no_cell", retryAfter: 1 });
  }

  #group(cells: readonly CellRecord[]): Group {
    const loads = cells.map((record) => {
      const before = this.#others.get(record.id);
      const own = this.running(record.id);
      if (before?.record !== record) {
        this.#others.set(record.id, { record, load: Math.max(0, record.load.running + record.load.waiting - own) });
      }
      return this.#others.get(record.id)!.load + own;
    });
    return {
      cells,
      places: new Map(cells.map(({ id }, i) => [id, i])),
      table: new Rendezvous(cells.map(({ id }) => id), loads),
      hints: new Map(cells.flatMap(({ id, spilled }) => spilled.map((key) => [key, id] as const))),
    };
  }

  #add(model: string, id: string, requests: 1 | -1): void {
    const own = this.running(id) + requests;
    if (own > 0) this.#own.set(id, own);
    else this.#own.delete(id);
    const group = this.#groups.get(model);
    const place = group?.places.get(id);
    if (place !== undefined) group!.table.add(place, requests * this.#share);
  }

  #remember(name: string, id: string): void {
    this.#remembered.delete(name);
    this.#remembered.set(name, id);
    if (this.#remembered.size > MOST_REMEMBERED) this.#remembered.delete(this.#remembered.keys().next().value!);
  }
}
