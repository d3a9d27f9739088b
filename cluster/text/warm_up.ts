/**
 * What a process does before its first request, so that it does not wait for code to be compiled.
 *
 * @module
 */
import { prepare } from "./prepare.ts";
import type { TextModel } from "./text_model.ts";

const BODY = new TextEncoder().encode(
  JSON.stringify({ prompt: "What is a kettle? It is a small pot with a lid, in which water boils. ".repeat(20) }),
);

/** Tokenises a text. */
export function warmUp(model: TextModel): void {
  prepare(model, "tokenize", BODY);
}
