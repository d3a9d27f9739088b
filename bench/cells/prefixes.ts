/**
 * Whether a prompt goes to the cell that has its beginning, whichever front it comes to.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import type { Fleet } from "../support/fleet.ts";
import { Random } from "../support/random.ts";

/** What came of it. */
export interface Affinity {
  readonly prefixes: number;
  /** Mean tokens of a prompt. */
  readonly tokens: number;
  /** Prompts of which nearly all was cached when they came to the other front. */
  readonly found: number;
  /** Requests of the cell that had most, beside the mean. */
  readonly spread: number;
}

/** Requests at a time. */
const AT_ONCE = 6;
const WORDS =
  "kettle water stone light harbour letter window silver garden morning engine river paper candle bridge market shadow winter copper thunder".split(
    " ",
  );

/** Asks for every prompt at the first front, and then, in another order and with another end, at the second. */
export async function measureAffinity(
  fleet: Fleet,
  { prefixes, words, say }: { prefixes: number; words: number; say: (what: string) => void },
): Promise<Affinity> {
  const random = new Random(5);
  const texts = Array.from({ length: prefixes }, () => Array.from({ length: words }, () => WORDS[random.below(WORDS.length)]).join(" "));
  const before = await requestsOf(fleet);
  let [tokens, found] = [0, 0];
  const pass = async (url: string, order: readonly number[], end: string) => {
    let next = 0;
    const worker = async () => {
      while (next < order.length) {
        const text = texts[order[next++]];
        const response = await fetch(`${url}/v1/completions`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ prompt: `${text} ${end}`, max_tokens: 2, temperature: 0, ignore_eos: true }),
        });
        const { usage, error } = await response.json();
        if (!response.ok) throw new Error(`a prompt was refused: ${error?.message}`);
        const { prompt_tokens, prompt_tokens_details } = usage;
        tokens += prompt_tokens;
        // The last block is computed again, and the one with the other end.
        if ((prompt_tokens_details?.cached_tokens ?? 0) >= prompt_tokens - 2 * BLOCK_TOKENS) found++;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  };
  const order = Array.from({ length: prefixes }, (_, i) => i);
  say(`${prefixes} prompts of ${words} words at the first front …`);
  await pass(fleet.urls[0], order, "first");
  const [earlier, meanTokens] = [found, tokens / prefixes];
  say(`the same ones at the second …`);
  await pass(fleet.urls[1], order.map((i) => (i * 7 + 3) % prefixes), "second");
  const counts = (await requestsOf(fleet)).map((count, i) => count - before[i]);
  const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  return { prefixes, tokens: meanTokens, found: found - earlier, spread: Math.max(...counts) / mean };
}

/** How many requests each cell has ended, in the order of ids. */
async function requestsOf(fleet: Fleet): Promise<number[]> {
  const cells = [...await fleet.cellsOf(fleet.urls[0])].sort((a, b) => a.id < b.id ? -1 : 1);
  return await Promise.all(cells.map(async ({ url }) => {
    const text = await (await fetch(`${url}/metrics`)).text();
    return [...text.matchAll(/^latentmesh_requests_total\{[^}]*\} (\d+)/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
  }));
}
