/**
 * How often one request has lost the cell that computed it, since it may be the reason; and how often it was sent on by cells that live.
 *
 * @module
 */
import { messageOf } from "../../core/errors.ts";
import { HttpError } from "../api/errors.ts";

/** Cells that one request may be lost with. */
export const MOST_LOSSES = 3;
/** Cells that may begin with one request, and then say that they cannot go on. */
export const MOST_MOVES = 8;

/** Every cell that had the request was lost, or could not go on. */
export class GivenUp extends HttpError {}

/** Losses of one request, however it is relayed. */
export class Losses {
  #lost = 0;
  #moved = 0;

  /** A cell was lost with it. @throws {GivenUp} 502 if no further cell is to be tried */
  count(error: unknown): void {
    if (++this.#lost < MOST_LOSSES) return;
    throw new GivenUp(502, `${this.#lost} cells were lost while they computed this request, which may be the reason: ${messageOf(error)}`, {
      code: "cell_lost",
    });
  }

  /** A cell that lives has begun with it, and cannot go on now. @throws {GivenUp} 503 if no further cell is to be tried */
  moved(error: unknown): void {
    if (++this.#moved < MOST_MOVES) return;
    throw new GivenUp(503, `${this.#moved} cells have begun with this request, and could not go on: ${messageOf(error)}; ask again later`, {
      code: "overloaded",
      retryAfter: 1,
    });
  }
}
