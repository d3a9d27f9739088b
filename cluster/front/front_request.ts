/**
 * A request as a front understands it: which model, whether it streams, and the text that its prompt begins with. What else it says is between client and cell.
 *
 * @module
 */
import { textPrefixNames } from "../../core/cache/prefix_hash.ts";
import { HttpError } from "../api/errors.ts";

/** Bytes of a block of a prompt's text, blocks that have names, and those of them that decide which cell gets it by rendezvous. */
const BLOCK_BYTES = 512;
const MOST_BLOCKS = 64;
const KEY_BLOCKS = 8;

/** What a front reads of a body. */
export interface FrontRequest {
  readonly path: string;
  /** Undefined: whichever there is. */
  readonly model: string | undefined;
  readonly stream: boolean;
  /** Whether there may be several choices, whose events are mixed. */
  readonly several: boolean;
  readonly logprobs: boolean;
  /** Names of the beginnings of its prompt, the shortest first. */
  readonly prefixes: readonly string[];
  /** Names what decides who gets it. */
  readonly key: string;
}

/** Reads a body. @param client salts names @throws {HttpError} 400 if it is no JSON object */
export function readFrontRequest(path: string, body: Uint8Array<ArrayBuffer>, client: string): FrontRequest {
  const fields = objectOf(body);
  const { model, stream, n, prompt, logprobs } = fields;
  if (model !== undefined && model !== null && typeof model !== "string") {
    throw new HttpError(400, `Parameter "model" cannot be used: expected text`, { param: "model", code: "invalid_value" });
  }
  const prefixes = textPrefixNames(promptBeginning(fields), { blockBytes: BLOCK_BYTES, most: MOST_BLOCKS, salt: client });
  return {
    path,
    model: model ?? undefined,
    stream: stream === true,
    several: (typeof n === "number" && n > 1) || (Array.isArray(prompt) && typeof prompt[0] !== "number"),
    logprobs: logprobs !== undefined && logprobs !== null && logprobs !== false,
    prefixes,
    key: prefixes[Math.min(KEY_BLOCKS, prefixes.length) - 1],
  };
}

function objectOf(body: Uint8Array<ArrayBuffer>): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    throw new HttpError(400, "The request body is not JSON", { code: "invalid_json" });
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new HttpError(400, "The body cannot be used: expected an object", { code: "invalid_value" });
}

/** Fields that prompts are made of, in the order in which templates show them. */
const PROMPT_FIELDS = ["prompt", "system", "instructions", "tools", "messages", "input"] as const;

/** The first bytes of what a prompt is made of. Requests that differ in them have different prompts, or next to none in common. */
function promptBeginning(fields: Record<string, unknown>): Uint8Array<ArrayBuffer> {
  let text = "";
  for (const field of PROMPT_FIELDS) {
    const value = fields[field];
    if (value === undefined || value === null) continue;
    for (const part of Array.isArray(value) && typeof value[0] === "object" ? value : [value]) {
      text += typeof part === "string" ? part : JSON.stringify(part);
      // A byte is a character at most.
      if (text.length >= MOST_BLOCKS * BLOCK_BYTES) break;
    }
  }
  return new TextEncoder().encode(text.slice(0, MOST_BLOCKS * BLOCK_BYTES)).subarray(0, MOST_BLOCKS * BLOCK_BYTES);
}
