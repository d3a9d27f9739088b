/**
 * `score`: negative log-likelihood and perplexity of documents.
 *
 * @module
 */
import { readDocuments } from "../text/documents.ts";
import type { LoadedEngine, LoadEngine } from "./loaded_engine.ts";
import { fetchedSettingsOf, type ModelFlags } from "../config/flags.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { log, printLine } from "../logs/log.ts";
import { showProgress } from "../logs/progress.ts";

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

/** Flags of the command. */
export interface ScoreFlags extends ModelFlags {
  readonly text: string;
  readonly limitTokens: number;
  readonly json?: boolean;
}

/** Loads a model in this process, scores and prints. */
export async function score(flags: ScoreFlags, loadEngine: LoadEngine): Promise<void> {
  const documents = await readDocuments(flags.text);
  const settings = await fetchedSettingsOf(flags);
  const progress = showProgress("loading");
  const engine = await loadEngine(settings, ({ loadedBytes, totalBytes }) => progress.update(loadedBytes, totalBytes)).finally(() => progress.stop());
  log("info", `device  ${engine.device}`);
  const scoring = showProgress("scoring", (count) => `${count} documents`);
  try {
    const report = await scoreDocuments(engine, documents, flags.limitTokens, ({ done, total }) => scoring.update(done, total)).finally(() =>
      scoring.stop()
    );
    print(report, flags.json ?? false);
  } finally {
    await engine.close();
  }
}

function print(report: ScoreReport, json: boolean): void {
  if (json) return printLine(JSON.stringify(report));
  report.perDocument.forEach(({ tokens, nllPerToken }, i) =>
    printLine(`document ${i + 1}\t${tokens} tokens\t${nllPerToken.toFixed(4)} nats per token`)
  );
  printLine(`all\t${report.tokens} tokens\t${report.nllPerToken.toFixed(4)} nats per token\tperplexity ${report.perplexity.toFixed(3)}`);
}

/** Scores every document over its first `limitTokens` tokens. @throws {LatentmeshError} `invalid_request` if there is nothing to score in any */
export async function scoreDocuments(
  engine: LoadedEngine,
  documents: readonly string[],
  limitTokens: number,
  onProgress?: (progress: { readonly done: number; readonly total: number }) => void,
): Promise<ScoreReport> {
  const perDocument: { tokens: number; nllPerToken: number }[] = [];
  let tokens = 0;
  let nll = 0;
  for (const [index, document] of documents.entries()) {
    const score = await engine.score(document, { limitTokens }).catch((error) => {
      throw named(error, `document ${index + 1}`);
    });
    tokens += score.tokens;
    nll += score.nll;
    perDocument.push({ tokens: score.tokens, nllPerToken: score.tokens === 0 ? 0 : score.nll / score.tokens });
    onProgress?.({ done: index + 1, total: documents.length });
  }
  if (tokens === 0) {
    const param = "text";
    throw new LatentmeshError(
      "invalid_request",
      "Nothing to score: no document has a token that comes after another; give longer documents (--text)",
      { param },
    );
  }
  return { tokens, nllPerToken: nll / tokens, perplexity: Math.exp(nll / tokens), perDocument };
}

/** The same error, with the flag that has a document cut before it is too long. */
function named(error: unknown, document: string): unknown {
  if (!(error instanceof LatentmeshError) || error.code !== "invalid_request") return error;
  return new LatentmeshError(error.code, `Cannot score ${document}: ${error.message}; give a lower --limit-tokens`, { param: "text", cause: error });
}
