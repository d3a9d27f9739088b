/**
 * Tokens → text: one generation with detokenisation and stop strings.
 *
 * @module
 */
import type { FinishReason, ServedModel, TokenLogprob, TokenRequest } from "../engine.ts";
import { createDetokenizer } from "./detokenizer.ts";
import { StopMatcher } from "./stop.ts";

/** One piece of generated text with the tokens that became certain with it. */
export interface TextPiece {
  readonly text: string;
  readonly tokens: readonly number[];
  /** One for each of `tokens`, where asked for. */
  readonly logprobs: readonly TokenLogprob[];
  /** Set in the last piece. */
  readonly finishReason: FinishReason | null;
}

/** What a text generation reports. */
export type TextEvent =
  | { readonly kind: "prefilled"; readonly cached: number }
  | { readonly kind: "prompt"; readonly logprobs: readonly (TokenLogprob | null)[] }
  | ({ readonly kind: "piece" } & TextPiece);

/** Options of {@link generateText}. */
export interface TextOptions {
  readonly stop: readonly string[];
  /** Special tokens that are part of the text. */
  readonly kept?: ReadonlySet<number>;
}

/**
 * Runs a token request as text. A stop string ends the generation and is left out; a token whose text is held back, because a character or a stop string may
 * be incomplete, comes with the piece that shows it.
 */
export async function* generateText(
  model: Pick<ServedModel, "engine" | "tokenizer">,
  request: TokenRequest,
  options: TextOptions,
): AsyncGenerator<TextEvent> {
  const detokenizer = createDetokenizer(model.tokenizer, options.kept);
  const matcher = new StopMatcher(options.stop);
  let tokens: number[] = [];
  let logprobs: TokenLogprob[] = [];
  const piece = (text: string, finishReason: FinishReason | null): TextEvent => {
    const event: TextEvent = { kind: "piece", text, tokens, logprobs, finishReason };
    [tokens, logprobs] = [[], []];
    return event;
  };
  for await (const event of model.engine.generate(request)) {
    switch (event.kind) {
      case "prefilled":
      case "prompt":
        yield event;
        break;
      case "token": {
        tokens.push(event.token);
        if (event.logprob !== null) logprobs.push(event.logprob);
        const { text, stopped } = matcher.push(request.stopTokens.has(event.token) ? "" : detokenizer.push(event.token));
        if (stopped) {
          // Leaving the loop ends the engine's generation.
          yield piece(text, "stop");
          return;
        }
        if (text !== "") yield piece(text, null);
        break;
      }
      case "finish": {
        const { text, stopped } = matcher.push(detokenizer.finish());
        yield piece(stopped ? text : text + matcher.finish(), stopped ? "stop" : event.reason);
        return;
      }
      default:
        event satisfies never;
    }
  }
}
