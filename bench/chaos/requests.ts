/**
 * What clients ask: a few kinds of requests of every sort, whose answers are known once they have been given.
 *
 * @module
 */
import { abortableFetch } from "../../core/net/abortable_fetch.ts";
import type { Random } from "../support/random.ts";

/** A request and how its client behaves. */
export interface ChaosRequest {
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
}

/** How a client goes about it. */
export interface Manner {
  readonly stream: boolean;
  /** Events after which it goes away; null: it stays. */
  readonly leavesAfter: number | null;
  /** Milliseconds that it takes for each piece that it reads. */
  readonly slowness: number;
}

/** What came of a request. */
export type Outcome =
  | { readonly kind: "answered"; readonly answer: string }
  | { readonly kind: "refused"; readonly error: string }
  | { readonly kind: "left" };

const SCHEMA = {
  type: "object",
  properties: {
    name: { type: "string", maxLength: 12 },
    age: { type: "integer", minimum: 0, maximum: 120 },
    tags: { type: "array", items: { enum: ["a", "b"] }, maxItems: 3 },
  },
  required: ["name", "age"],
  additionalProperties: false,
};

/** Kinds of requests. */
export function requestKinds(random: Random, count: number): ChaosRequest[] {
  return Array.from({ length: count }, (_, kind): ChaosRequest => {
    const length = random.below(4) === 0 ? 200 + random.below(400) : 3 + random.below(60);
    const prompt = Array.from({ length }, (_, i) => 100 + ((kind * 37 + i * 11) % 4000));
    const common = { max_tokens: 4 + random.below(60), ignore_eos: true, seed: kind };
    const completion = (more: object) => ({ path: "/v1/completions", body: { prompt, ...common, temperature: 0, return_token_ids: true, ...more } });
    switch (kind % 6) {
      case 1:
        return completion({ temperature: 1, top_p: 0.9 });
      case 2:
        return completion({
          repetition_penalty: 1.3,
          presence_penalty: 0.5,
          logit_bias: Object.fromEntries(prompt.slice(0, 20).map((token) => [token, -1])),
        });
      case 3:
        return completion({ n: 3, temperature: 1 });
      case 4:
        return {
          path: "/v1/chat/completions",
          body: {
            messages: [{ role: "user", content: `Say something about number ${kind}.` }],
            ...common,
            ignore_eos: false,
            temperature: 0,
            max_tokens: 80,
            response_format: { type: "json_schema", json_schema: { name: "person", schema: SCHEMA } },
          },
        };
      default:
        return completion({});
    }
  });
}

/** Asks, and reads to the end or as far as the client does. What is compared is tokens, or text where no tokens are told. */
export async function ask(url: string, { path, body }: ChaosRequest, { stream, leavesAfter, slowness }: Manner): Promise<Outcome> {
  const leave = new AbortController();
  try {
    const response = await abortableFetch(url + path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "tiny-mla", ...body, stream }),
      signal: leave.signal,
    });
    if (!response.ok) return { kind: "refused", error: `${response.status} ${(await response.text()).slice(0, 300)}` };
    if (!stream) {
      const { choices } = await response.json();
      return { kind: "answered", answer: JSON.stringify(choices.map(partOf)) };
    }
    const parts: string[] = [];
    let left = leavesAfter ?? Infinity;
    for await (const data of eventsOf(response.body!)) {
      if (data === "[DONE]") return { kind: "answered", answer: JSON.stringify(parts) };
      const parsed = JSON.parse(data);
      if (parsed.error !== undefined) return { kind: "refused", error: JSON.stringify(parsed.error) };
      for (const choice of parsed.choices) {
        const part = partOf(choice);
        const separator = Array.isArray(choice.token_ids) && parts[choice.index] !== undefined && part !== "" && parts[choice.index] !== ""
          ? ","
          : "";
        parts[choice.index] = (parts[choice.index] ?? "") + separator + part;
      }
      if (--left <= 0) leave.abort();
      if (slowness > 0) await new Promise((resolve) => setTimeout(resolve, slowness));
    }
    return leave.signal.aborted ? { kind: "left" } : { kind: "refused", error: "the stream ended without [DONE]" };
  } catch (error) {
    return leave.signal.aborted
      ? { kind: "left" }
      : { kind: "refused", error: `no answer: ${error instanceof Error ? error.message : String(error)}` };
  }
}

function partOf(choice: { token_ids?: number[]; text?: string; message?: { content?: string }; delta?: { content?: string } }): string {
  return choice.token_ids?.join() ?? choice.text ?? choice.message?.content ?? choice.delta?.content ?? "";
}

async function* eventsOf(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let held = "";
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    const events = (held + text).split("\n\n");
    held = events.pop()!;
    for (const event of events) if (event.startsWith("data: ")) yield event.slice("data: ".length);
  }
}
