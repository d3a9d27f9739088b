/**
 * Names of models on a hub: `org/name`, `org/name@revision`, and of those in GGUF files `org/name:Q4_K_M` or `hf:org/name/file.gguf`. They stand where a model
 * directory does.
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
  /** Which of its GGUF files, by its precision or its path in the repository; if it is not said, safetensors, or else the usual one of those. */
  readonly gguf?: string;
}

/** What tells it from a directory where both could be meant: ours, and how Ollama has it. */
const PREFIX = /^(hf:|hf\.co\/)/;

const DEFAULT_REVISION = "main";

const NAME = /^([\w.-]+\/[\w.-]+)(?:@([^:]+))?(?::([\w.+-]+))?$/;

/** Of a revision, what has slashes in it says so at its beginning; elsewhere a slash ends it. */
const FILE_NAME = /^([\w.-]+\/[\w.-]+)(?:@(refs\/(?:pr|convert)\/[^/]+|[^/]+))?\/(.+)$/;

/** Takes a name apart; null if it can be none. @throws {LatentmeshError} `invalid_config` if it begins with `hf:` and is none all the same */
export function parseHubName(text: string): HubName | null {
  if (isSynthetic(text)) return null;
  const prefix = PREFIX.exec(text)?.[0] ?? null;
  // A file in a folder here.
  if (prefix === null && isGguf(text)) return null;
  const name = text.slice(prefix?.length ?? 0);
  const [, repository, revision = DEFAULT_REVISION, gguf] = (isGguf(name) ? FILE_NAME.exec(name) : null) ?? NAME.exec(name) ?? [];
  if (repository !== undefined && repository.split("/").every(isPart) && isRevision(revision) && (gguf === undefined || isPath(gguf))) {
    return gguf === undefined ? { repository, revision } : { repository, revision, gguf };
  }
  if (prefix === null) return null;
  throw new LatentmeshError(
    "invalid_config",
    `Cannot use model "${text}": names on a hub are hf:org/name or hf:org/name@revision, and of GGUF files hf:org/name:Q4_K_M or hf:org/name/file.gguf`,
    { param: "model" },
  );
}

/** For people, and to be read again: `org/name`, with the revision if it is not the usual one. */
export function formatHubName({ repository, revision, gguf }: HubName): string {
  const name = revision === DEFAULT_REVISION ? repository : `${repository}@${revision}`;
  if (gguf === undefined) return isGguf(name) ? `hf:${name}` : name;
  return isGguf(gguf) ? `hf:${name}/${gguf}` : `${name}:${gguf}`;
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

/** Whether a path in a repository can be one below a snapshot in a cache, and leads nowhere else. */
export function isPath(path: string): boolean {
  return path.length <= 1024 && /^[\w+][\w.+-]*(\/[\w+][\w.+-]*)*$/.test(path);
}
