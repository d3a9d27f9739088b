/**
 * Process start to first token, as a user sees it: `serve` is started, and the first streamed token of a chat is waited for.
 *
 * @module
 */
import { startServer } from "./support/process.ts";
import { median, printTable } from "./table.ts";

/** Runs the bench. */
export async function startBench([runs = "5"]: readonly string[]): Promise<void> {
  // The other benches do without it.
  const { default: OpenAI } = await import("npm:openai@6.49.0");
  const ready: number[] = [];
  const first: number[] = [];
  for (let run = 0; run < Number(runs); run++) {
    const started = performance.now();
    const server = await startServer();
    ready.push(performance.now() - started);
    const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none" });
    const stream = await client.chat.completions.create({
      model: "tiny-mla",
      messages: [{ role: "user", content: "What is a kettle?" }],
      stream: true,
    });
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
    first.push(performance.now() - started);
    await server.stop();
  }
  const row = (
    name: string,
    values: number[],
  ) => [name, ...[Math.min(...values), median(values), Math.max(...values)].map((ms) => `${(ms / 1000).toFixed(2)} s`)];
  printTable([["embedded model, cpu device", "min", "median", "max"], row("ready", ready), row("first token", first)]);
}
