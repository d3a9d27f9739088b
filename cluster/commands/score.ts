/**
 * `score`: negative log-likelihood and perplexity of documents.
 *
 * @module
 */
import { z } from "zod";
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import type { LoadedEngine } from "../engine.ts";
import { log } from "../log.ts";

/** What `score --json` prints. */
export interface ScoreReport {
  /** Tokens predicted. */
  readonly tokens: number;
  /** Mean negative log-likelihood, in nats. */
  readonly nllPerToken: number;
  /** exp(nllPerToken) */
  readonly perplexity: number;
  readonly perDocument: readonly { readonly tokens: number; readonly nllPerToken: number }[];
}

/** Reads a JSON array of documents. @throws {LatentmeshError} */
export async function readDocuments(file: string): Promise<string[]> {
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (cause) {
    throw new LatentmeshError("not_found", `Cannot read ${file}: ${messageOf(cause)}`, { cause });
  }
  const parsed = z.array(z.string()).min(1).safeParse(tryJson(text));
  if (!parsed.success) throw new LatentmeshError("invalid_config", `Cannot use ${file}: it must be a JSON array of texts`);
  return parsed.data;
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Scores every document over its first `limitTokens` tokens. */
export async function scoreDocuments(engine: LoadedEngine, documents: readonly string[], limitTokens: number): Promise<ScoreReport> {
  const perDocument: { tokens: number; nllPerToken: number }[] = [];
  let tokens = 0;
  let nll = 0;
  for (const [index, document] of documents.entries()) {
    const score = await engine.score(document, { limitTokens });
    tokens += score.tokens;
    nll += score.nll;
    perDocument.push({ tokens: score.tokens, nllPerToken: score.nll / score.tokens });
    log("info", `document ${index + 1} of ${documents.length}: ${score.tokens} tokens, ${(score.nll / score.tokens).toFixed(4)} nats per token`);
  }
  return { tokens, nllPerToken: nll / tokens, perplexity: Math.exp(nll / tokens), perDocument };
}
