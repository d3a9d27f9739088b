/**
 * llama.cpp through node-llama-cpp, in a process of its own: takes one {@link LlamaTask} as its argument, writes a {@link LlamaResult} as its last line.
 *
 * @module
 */

/** What to measure. */
export interface LlamaTask {
  /** URL of node-llama-cpp's `dist/index.js`. */
  readonly module: string;
  /** A GGUF file. */
  readonly file: string;
  readonly threads: number;
  /** Tokens of the prompt before the steps that are timed, and how many steps. */
  readonly decode: { readonly context: number; readonly steps: number };
  /** Tokens of prompts, and how often each is timed after once for warmth. */
  readonly prefill: { readonly lengths: readonly number[]; readonly runs: number };
  /** The most probable tokens after this are told. */
  readonly greedy: { readonly prompt: readonly number[]; readonly tokens: number } | null;
}

/** What came of it; times in milliseconds. */
export interface LlamaResult {
  readonly steps: readonly number[];
  readonly prompts: readonly (readonly number[])[];
  readonly greedy: readonly number[];
}

if (import.meta.main) {
  const task: LlamaTask = JSON.parse(Deno.args[0]);
  const { getLlama } = await import(task.module);
  const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: "error" });
  const model = await llama.loadModel({ modelPath: task.file });
  const longest = Math.max(...task.prefill.lengths, task.decode.context + task.decode.steps);
  const context = await model.createContext({ contextSize: longest + 64, batchSize: longest, threads: task.threads });
  const sequence = context.getSequence();
  const prompt = (length: number) => Array.from({ length }, (_, i) => 100 + (i * 7919) % 400);

  const greedy: number[] = [];
  if (task.greedy !== null) {
    for await (const token of sequence.evaluate(task.greedy.prompt, { temperature: 0, yieldEogToken: true })) {
      greedy.push(token);
      if (greedy.length === task.greedy.tokens) break;
    }
  }

  const prompts: number[][] = [];
  for (const length of task.prefill.lengths) {
    const times: number[] = [];
    for (let run = 0; run <= task.prefill.runs; run++) {
      await sequence.clearHistory();
      const began = performance.now();
      await sequence.evaluateWithoutGeneratingNewTokens(prompt(length));
      if (run > 0) times.push(performance.now() - began);
    }
    prompts.push(times);
  }

  const steps: number[] = [];
  // Until there are enough: what is noise may end early.
  while (steps.length < task.decode.steps) {
    await sequence.clearHistory();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt(task.decode.context - 1));
    let last: number | null = null;
    for await (const _ of sequence.evaluate([100], { temperature: 0, yieldEogToken: true })) {
      const now = performance.now();
      if (last !== null) steps.push(now - last);
      last = now;
      if (steps.length === task.decode.steps || sequence.nextTokenIndex >= longest) break;
    }
  }
  console.log(`\n${JSON.stringify({ steps, prompts, greedy } satisfies LlamaResult)}`);
  Deno.exit(0);
}
