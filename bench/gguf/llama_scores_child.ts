/**
 * What llama.cpp, through node-llama-cpp, says of texts, in a process of its own: takes one {@link ScoresTask} as its argument, writes a {@link ScoresResult} as its last
 * line, and logits into a file.
 *
 * @module
 */

/** What is asked. */
export interface ScoresTask {
  /** URL of node-llama-cpp's `dist/index.js`. */
  readonly module: string;
  /** A GGUF file. */
  readonly file: string;
  /** Each is continued greedily by so many tokens, beyond tokens that end texts. */
  readonly prompts: readonly (readonly number[])[];
  readonly tokens: number;
  /** What follows a prompt, of the same number of tokens each: logits of all of these are written, given those before. */
  readonly continuations: readonly (readonly number[])[];
  /** Is tokenised, with special tokens. */
  readonly texts: readonly string[];
  /** Takes logits as float32, [prompts, tokens, vocabulary]. */
  readonly logits: string;
}

/** What came of it. */
export interface ScoresResult {
  readonly greedy: readonly (readonly number[])[];
  readonly tokenised: readonly (readonly number[])[];
}

if (import.meta.main) {
  const task: ScoresTask = JSON.parse(Deno.args[0]);
  const { getLlama } = await import(task.module);
  const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: "error" });
  const model = await llama.loadModel({ modelPath: task.file });
  const longest = Math.max(...task.prompts.map(({ length }) => length)) + task.tokens;
  // In f32, as it is here, so that weights are what is compared.
  const cache = { flashAttention: false, experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32" };
  // Several threads would wait for each other on a machine that does other things.
  const context = await model.createContext({ contextSize: longest + 64, batchSize: longest + 64, threads: 1, ...cache });
  const sequence = context.getSequence();
  const wanted = (token: number, what: object) => [token, { generateNext: what }];

  const greedy: number[][] = [];
  for (const prompt of task.prompts) {
    await sequence.clearHistory();
    const tokens: number[] = [];
    let input: readonly number[] = prompt;
    while (tokens.length < task.tokens) {
      const results = await sequence.controlledEvaluate([...input.slice(0, -1), wanted(input.at(-1)!, { token: true })]);
      tokens.push(results.at(-1).next.token);
      input = tokens.slice(-1);
    }
    greedy.push(tokens);
  }

  using file = await Deno.open(task.logits, { write: true, create: true, truncate: true });
  for (const [i, prompt] of task.prompts.entries()) {
    await sequence.clearHistory();
    // The last token's logits are of what would come next.
    const before = [...prompt, ...task.continuations[i]].slice(0, -1);
    const results = await sequence.controlledEvaluate(
      before.map((token, at) => at < prompt.length - 1 ? token : wanted(token, { logits: true })),
    );
    for (const { next } of results.slice(prompt.length - 1)) {
      const row = new Float32Array(next.logits.size);
      for (const [token, logit] of next.logits) row[token] = logit;
      const bytes = new Uint8Array(row.buffer);
      for (let done = 0; done < bytes.byteLength;) done += await file.write(bytes.subarray(done));
    }
  }
  const tokenised = task.texts.map((text) => model.tokenize(text, true));
  console.log(`\n${JSON.stringify({ greedy, tokenised } satisfies ScoresResult)}`);
  Deno.exit(0);
}
