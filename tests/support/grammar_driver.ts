/**
 * Follows grammars with tokens that chance chooses among those that are allowed.
 *
 * @module
 */
import type { AnswerGrammar } from "../../core/text/answers/answer_grammar.ts";
import type { Automaton } from "../../cluster/grammar/automaton/automaton.ts";
import { CompiledGrammar } from "../../cluster/grammar/compiled_grammar.ts";
import { type TokenTables, tokenTables } from "../../cluster/grammar/tokens/token_tables.ts";
import { type GrammarVocabulary, tokenBytes } from "../../cluster/grammar/tokens/vocabulary.ts";
import type { Random } from "../../bench/support/random.ts";
import { finish, ShortestTexts } from "./shortest_text.ts";

export { finish };

/** A vocabulary of these texts. The first token ends answers. */
export function vocabularyOf(texts: readonly Uint8Array[]): GrammarVocabulary {
  const offsets = new Uint32Array(texts.length + 1);
  texts.forEach((text, i) => offsets[i + 1] = offsets[i] + text.length);
  const bytes = new Uint8Array(offsets[texts.length]);
  texts.forEach((text, i) => bytes.set(text, offsets[i]));
  return { bytes, offsets, stopTokens: [0] };
}

/** Every byte, and some of what models write in JSON. */
export function smallTables(): TokenTables {
  const written = [
    `{"`,
    `":`,
    `": "`,
    `", "`,
    `"}`,
    `"],`,
    `}}`,
    `[[`,
    `null`,
    `true`,
    `false`,
    `12`,
    `-1`,
    `0.`,
    `e1`,
    `ab`,
    `name`,
    ` the`,
    `é`,
    `日本`,
    `\\u00`,
    `\\n`,
  ];
  return tokenTables(vocabularyOf([
    new Uint8Array(),
    ...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
    ...[...written, "\n  ", "\n    ", "😀"].map((text) => new TextEncoder().encode(text)),
  ]));
}

export function allows(mask: Uint32Array, token: number): boolean {
  return ((mask[token >>> 5] >>> (token & 31)) & 1) === 1;
}

/** A grammar over a vocabulary. */
export function compile(grammar: AnswerGrammar, tables: TokenTables): CompiledGrammar {
  return finish(CompiledGrammar.compile(grammar, tables));
}

/** A text that chance writes with a grammar: so many tokens, then to the end in the shortest way. */
export function randomText(grammar: CompiledGrammar, tables: TokenTables, random: Random, most: number): string {
  const { vocabulary } = tables;
  const text: number[] = [];
  let state = grammar.start;
  for (let i = 0; i < most; i++) {
    const mask = finish(grammar.mask(state));
    const allowed: number[] = [];
    for (let token = 0; token < vocabulary.offsets.length - 1; token++) if (allows(mask, token)) allowed.push(token);
    if (allowed.length === 0) throw new Error(`nothing may follow ${new TextDecoder().decode(Uint8Array.from(text))}`);
    const ends = allowed.includes(vocabulary.stopTokens[0]);
    if (ends && random.next() < 0.4) return new TextDecoder().decode(Uint8Array.from(text));
    // By first byte, so that what is rare in a vocabulary, such as brackets, is not rare.
    const firsts = [...new Set(allowed.map((token) => vocabulary.bytes[vocabulary.offsets[token]]))];
    const first = firsts[random.below(firsts.length)];
    const choices = allowed.filter((token) =>
      token !== vocabulary.stopTokens[0] && (random.next() < 0.3 || vocabulary.bytes[vocabulary.offsets[token]] === first)
    );
    if (choices.length === 0) continue;
    const token = choices[random.below(choices.length)];
    text.push(...tokenBytes(vocabulary, token));
    state = finish(grammar.accept(state, token));
  }
  text.push(...shortestOf(grammar.automaton).complete(state));
  return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(text));
}

const shortest = new WeakMap<Automaton, ShortestTexts>();

function shortestOf(automaton: Automaton): ShortestTexts {
  let texts = shortest.get(automaton);
  if (texts === undefined) shortest.set(automaton, texts = new ShortestTexts(automaton));
  return texts;
}
