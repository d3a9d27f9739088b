/**
 * The thread that tokenises long texts: it is one that can be ended when a text takes too long.
 *
 * @module
 */
/// <reference lib="deno.worker" />
import { TextTokenizer } from "../../core/text/tokenizer.ts";
import type { FromTextThread, ToTextThread } from "./messages.ts";

let tokenizer: TextTokenizer | null = null;

self.onmessage = ({ data }: MessageEvent<ToTextThread>) => {
  if (data.kind === "tokenizer") {
    tokenizer = TextTokenizer.parse(data.files);
    return;
  }
  const { texts, special } = data;
  const tokens: FromTextThread = texts.map((text) => Uint32Array.from(tokenizer!.encode(text, { special })));
  self.postMessage(tokens, tokens.map(({ buffer }) => buffer));
};
