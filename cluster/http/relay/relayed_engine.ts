/**
 * The engine as a front's request sees it: what it generates is noted, and goes on where another cell has stopped.
 *
 * @module
 */
import type { FinishReason, TokenEngine, TokenEvent, TokenRequest } from "../../../core/engine.ts";
import { asLatentmeshError } from "../../../core/errors.ts";
import { EngineAround } from "../../../core/engine_around.ts";
import { mostTokens } from "../../../core/generation.ts";
import type { RelayNotes } from "./relayed_request.ts";

/** Generates for one request of a front, whose choices come in their order. */
export class RelayedEngine extends EngineAround {
  readonly #notes: RelayNotes;
  #choices = 0;

  constructor(engine: TokenEngine, notes: RelayNotes) {
    super(engine);
    this.#notes = notes;
  }

  override async generate(given: TokenRequest, emit: (event: TokenEvent) => void): Promise<void> {
    const choice = this.#choices++;
    const notes = this.#notes;
    const { resumption } = notes;
    const request = resumption === null
      ? given
      : { ...given, sampling: { ...given.sampling, seed: resumption.seed }, resumed: resumption.tokens[choice] ?? [] };
    notes.seed(request.sampling.seed);
    const noted = (event: TokenEvent) => {
      // Before the event that shows it: what a front has of tokens is never less than what its client has of text.
      if (event.kind === "token") notes.token(choice, event.token);
      emit(event);
    };
    const reason = endOf(request, this.maxContext);
    if (reason !== null) return tellAgain(request, reason, noted);
    try {
      await this.inner.generate(request, noted);
    } catch (error) {
      notes.failed(asLatentmeshError(error).code);
      throw error;
    }
  }
}

/** Why nothing comes behind what a request has got elsewhere; null: something does. */
function endOf({ resumed = [], stopTokens, ...request }: TokenRequest, maxContext: number): FinishReason | null {
  const last = resumed.at(-1);
  if (last === undefined) return null;
  if (stopTokens.has(last)) return "stop";
  return resumed.length >= mostTokens(request as TokenRequest, maxContext) ? "length" : null;
}

function tellAgain({ resumed = [] }: TokenRequest, reason: FinishReason, emit: (event: TokenEvent) => void): void {
  emit({ kind: "prefilled", cached: 0 });
  for (const token of resumed) emit({ kind: "token", token, logprob: null });
  emit({ kind: "finish", reason });
}
