/**
 * `models`: what models from hubs there are on this machine.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { type CachedModel, cachedModels, removeModel } from "../hub/cached_models.ts";
import { readHubAccess } from "../hub/hub_access.ts";
import { parseHubName } from "../hub/hub_name.ts";
import { formatBytes, printLine } from "../logs/log.ts";
import { tableLines } from "./table.ts";

/** Flags of the command. */
export interface ModelsFlags {
  readonly remove?: string;
  readonly json?: boolean;
}

/** Lists them, or removes one. */
export async function models({ remove, json = false }: ModelsFlags): Promise<void> {
  const { cache } = await readHubAccess();
  if (remove !== undefined) return await removeOne(cache, remove);
  const found = await cachedModels(cache);
  if (json) return printLine(JSON.stringify({ cache, models: found }));
  if (found.length === 0) return printLine(`There are no models in ${cache}; deno task pull org/name fetches one.`);
  for (const line of tableLines(["model", "revision", "commit", "size", ""], found.flatMap(rowsOf))) printLine(line.trimEnd());
  printLine("");
  printLine(`${formatBytes(found.reduce((sum, { bytes }) => sum + bytes, 0))} in ${cache}; --remove org/name makes room`);
}

async function removeOne(cache: string, model: string): Promise<void> {
  const name = parseHubName(model);
  if (name === null) {
    throw new LatentmeshError(
      "invalid_config",
      `Cannot remove "${model}": models here are called org/name or org/name@revision, and of GGUF files org/name:Q4_K_M`,
    );
  }
  const freed = await removeModel(cache, name, { onlyRevision: model.includes("@") });
  printLine(`removed ${model}: ${formatBytes(freed)} are free`);
}

function rowsOf({ repository, bytes, partialBytes, revisions }: CachedModel): string[][] {
  if (revisions.length === 0) return [[repository, "", "", formatBytes(bytes), "nothing of it is whole; deno task pull goes on"]];
  const part = partialBytes === 0 ? "" : `, ${formatBytes(partialBytes)} of beginnings`;
  return revisions.map(({ commit, refs, bytes, missing, gguf }) => [
    repository,
    refs.join(", "),
    commit.slice(0, 12),
    formatBytes(bytes),
    [...(gguf.length === 0 ? [] : [gguf.join(", ")]), ...(missing === null ? [] : [`in part: ${missing} is missing${part}`])].join("; "),
  ]);
}
