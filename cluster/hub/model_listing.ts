/**
 * What a model on a hub consists of, in the form in which it is taken: safetensors where there are some, unless GGUF files are asked for.
 *
 * @module
 */
import { log } from "../logs/log.ts";
import { chooseGguf, type GgufChoice, ggufChoices, nameOfChoice } from "./gguf_choice.ts";
import type { HubClient } from "./hub_client.ts";
import { formatHubName, type HubName } from "./hub_name.ts";
import { type HubListing, listFiles } from "./listing.ts";
import { hasSafetensors } from "./needed_files.ts";

/** A model at one commit. */
export interface ModelListing extends HubListing {
  /** Of its GGUF files those that are taken; null: safetensors are. */
  readonly gguf: GgufChoice | null;
}

/** Asks a hub. @throws {LatentmeshError} why it cannot be had, or which GGUF files there are instead of those that were asked for */
export async function listModel(client: HubClient, name: HubName, commit: string, signal: AbortSignal): Promise<ModelListing> {
  if (name.gguf === undefined) {
    const listing = await listFiles(client, name, commit, { signal });
    if (hasSafetensors(listing.files)) return { ...listing, gguf: null };
  }
  const listing = await listFiles(client, name, commit, { signal, recursive: true });
  const choices = ggufChoices(listing.files.keys());
  if (name.gguf === undefined && choices.length === 0) return { ...listing, gguf: null };
  const gguf = chooseGguf(listing.files.keys(), name.gguf, formatHubName({ ...name, gguf: undefined }));
  if (name.gguf === undefined) tellChoice(name, gguf, choices);
  return { ...listing, gguf };
}

/** What was chosen that nobody has asked for. */
function tellChoice(name: HubName, chosen: GgufChoice, choices: readonly GgufChoice[]): void {
  const model = formatHubName(name);
  const others = choices.filter(({ file }) => file !== chosen.file).map((choice) => nameOfChoice(choice, choices));
  const another = others.length === 0
    ? ""
    : `; there are also ${others.slice(0, 12).join(", ")}${others.length > 12 ? " and others" : ""} (${model}:NAME)`;
  log("info", `model   ${model} is in GGUF files: ${nameOfChoice(chosen, choices)} is taken${another}`);
}
