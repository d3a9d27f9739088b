/**
 * How often one request has lost the cell that computed it: it may be the reason.
 *
 * @module
 */
import { messageOf } from "../../core/errors.ts";
import { HttpError } from "../api/errors.ts";

/** Cells that one request may be lost with. */
export const MOST_LOSSES = 3;

/** Every cell that had the request was lost. */
export class LostTooOften extends HttpError {
  constructor(times: number, error: unknown) {
    super(502, `${times} cells were lost while they computed this request, which may be the reason: ${messageOf(error)}`, { code: "cell_lost" });
  }
}

/** Losses of one request, however it is relayed. */
export class Losses {
  #times = 0;

  /** Another one. @throws {LostTooOften} if no further cell is to be tried */
  count(error: unknown): void {
    if (++this.#times >= MOST_LOSSES) throw new LostTooOften(this.#times, error);
  }
}
