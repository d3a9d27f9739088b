/**
 * The thread that holds grammars. What takes long there is done a little at a time, and nothing in it has to be ended from outside.
 *
 * @module
 */
/// <reference lib="deno.worker" />
import { setImmediate } from "node:timers";
import type { FromGrammarThread, ToGrammarThread } from "./messages.ts";
import { OpenGrammars } from "./open_grammars.ts";
import { tokenTables } from "./tokens/token_tables.ts";
import { Turns } from "./turns.ts";

const scope = self as DedicatedWorkerGlobalScope;
const tell = (message: FromGrammarThread) => scope.postMessage(message);
const turns = new Turns(() => new Promise((resolve) => setImmediate(resolve)));
let grammars: OpenGrammars;

scope.onmessage = ({ data: message }: MessageEvent<ToGrammarThread>) => {
  switch (message.kind) {
    case "vocabulary":
      grammars = new OpenGrammars(tokenTables(message.vocabulary), turns, tell);
      return;
    case "open":
      return grammars.open(message);
    case "accept":
      return grammars.accept(message);
    case "foresee":
      return grammars.foresee(message);
    case "close":
      return grammars.close(message);
    default:
      message satisfies never;
  }
};
