/**
 * Names of models on a hub: `org/name`, `org/name@revision`, `hf:org/name`. They stand where a model directory does.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { isGguf } from "../../core/model/gguf/parts.ts";
import { isSynthetic } from "../../core/model/synthetic/name.ts";

/** What a name says. */
export interface HubName {
  /** `org/name` */
  readonly repository: string;
  /** A branch, a tag, `refs/pr/N` or a commit. */
  readonly revision: string;
}

/** What tells it from a directory where both could be meant. */
const PREFIX = "hf:";

const DEFAULT_REVISION = "main";

const NAME = /^([\w.-]+\/[\w.-]+)(?:@(.+))?$/;

/** Takes a name apart; null if it can be none. @throws {LatentmeshError} `invalid_config` if it begins with `hf:` and is none all the same */
export function parseHubName(text: string): HubName | null {
  if (isSynthetic(text)) return null;
  const prefixed = text.startsWith(PREFIX);
  // A file in a folder here.
  if (!prefixed && isGguf(text)) return null;
  const [, repository, revision = DEFAULT_REVISION] = NAME.exec(prefixed ? text.slice(PREFIX.length) : text) ?? [];
  if (repository !== undefined && repository.split("/").every(isPart) && isRevision(revision)) return { repository, revision };
  if (!prefixed) return null;
  throw new LatentmeshError("invalid_config", `Cannot use model "${text}": names on a hub are hf:org/name or hf:org/name@revision`, {
    param: "model",
  });
}

/** For people: `org/name`, with the revision if it is not the usual one. */
export function formatHubName({ repository, revision }: HubName): string {
  return revision === DEFAULT_REVISION ? repository : `${repository}@${revision}`;
}

/** Whether a revision is a commit, which never changes. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/** What hubs allow; names of folders are made of it. */
function isPart(part: string): boolean {
  return part.length <= 96 && !/\.\.|--|^[.-]|[.-]$/.test(part);
}

/** It becomes a path below `refs`. */
function isRevision(revision: string): boolean {
  return revision.length <= 255 && /^\w[\w.+-]*(\/\w[\w.+-]*)*$/.test(revision) && !revision.includes("..");
}
