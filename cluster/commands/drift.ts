/**
 * `drift`: what a way of decoding costs in accuracy.
 *
 * @module
 */
import type { DriftReport } from "../../core/tpla/drift.ts";
import type { MeasureDrift } from "./loaded_engine.ts";
import { fetchedSettingsOf, type ModelFlags, type SchemeFlags } from "../config/flags.ts";
import { printLine } from "../logs/log.ts";
import { showProgress } from "../logs/progress.ts";
import { readDocuments } from "../text/documents.ts";

/** Flags of the command. */
export interface DriftFlags extends Pick<ModelFlags, "model" | "device" | "cacheDtype" | "indexCache">, SchemeFlags {
  readonly text: string;
  readonly limitTokens: number;
  readonly prefix?: number;
  readonly json?: boolean;
}

/** Measures and prints. */
export async function drift(flags: DriftFlags, measureDrift: MeasureDrift): Promise<void> {
  const documents = await readDocuments(flags.text);
  const { model, device, dawn, cacheDtype, indexDtype, decode: { scheme } } = await fetchedSettingsOf(flags);
  const { limitTokens, prefix } = flags;
  const progress = showProgress("decoding", (tokens) => `${tokens} tokens`);
  const onProgress = ({ done, total }: { done: number; total: number }) => progress.update(done, total);
  const report = await measureDrift({ ...scheme, model, device, dawn, documents, limitTokens, prefix, cacheDtype, indexDtype, onProgress }).finally(
    () => progress.stop(),
  );
  print(report, flags.json ?? false);
}

function print(report: DriftReport, json: boolean): void {
  if (json) return printLine(JSON.stringify(report));
  const { kl, agreement, perplexity, widths, cacheDtype, bytes, tokens } = report;
  printLine(`KL to exact attention   ${kl.toPrecision(3)} nats per token`);
  printLine(`same best token         ${(agreement * 100).toFixed(1)} %`);
  printLine(`perplexity              ${perplexity.chosen.toFixed(3)}, exact ${perplexity.exact.toFixed(3)}`);
  printLine(`cached values per token ${widths.join(", ")} on ranks 0 … ${widths.length - 1}`);
  printLine(`cached bytes per token  ${bytes.join(", ")} in ${cacheDtype}`);
  printLine(`tokens compared         ${tokens}`);
}
