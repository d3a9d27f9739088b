/**
 * What a model on a hub consists of, from `@huggingface/hub`. Of that package come the requests and their pages only: what it has for downloads knows neither breaks nor
 * hashes, and names files in the cache otherwise than Python does.
 *
 * @module
 */
import { z } from "zod";
import { LatentmeshError } from "../../core/errors.ts";
import { isGguf } from "../../core/model/gguf/parts.ts";
import { printable, refusal } from "./hub_errors.ts";
import type { HubClient } from "./hub_client.ts";
import { formatHubName, type HubName, isCommit } from "./hub_name.ts";

/** How a file is known: by SHA-256 where the hub keeps it as a large one, else as git knows it. */
export interface FileHash {
  readonly kind: "sha256" | "git-sha1";
  /** In hexadecimal; the name of its blob in the cache. */
  readonly hex: string;
}

/** One file. */
export interface HubFile {
  readonly path: string;
  readonly size: number;
  readonly hash: FileHash;
}

/** A model at one commit. */
export interface HubListing {
  readonly commit: string;
  /** By path. */
  readonly files: ReadonlyMap<string, HubFile>;
}

/** Asks, as {@link HubClient} does. */
export type HubAsker = Pick<HubClient, "access" | "fetching">;

const infoSchema = z.object({ sha: z.string().refine(isCommit) });

const hexSchema = (digits: number) => z.string().regex(new RegExp(`^[0-9a-f]{${digits}}$`));

const entrySchema = z.object({
  type: z.literal("file"),
  path: z.string(),
  size: z.int().nonnegative(),
  oid: hexSchema(40),
  lfs: z.object({ oid: hexSchema(64), size: z.int().nonnegative() }).optional(),
}).transform(({ path, size, oid, lfs }): HubFile => ({
  path,
  size: lfs?.size ?? size,
  hash: lfs === undefined ? { kind: "git-sha1", hex: oid } : { kind: "sha256", hex: lfs.oid },
}));

/** Of a thousand entries each. */
const MOST_PAGES = 200;

/** The commit that a revision is. @throws {LatentmeshError} why it cannot be had */
export async function resolveCommit(
  client: HubAsker,
  name: HubName,
  { signal, mostFaults }: { readonly signal: AbortSignal; readonly mostFaults?: number },
): Promise<string> {
  const { modelInfo } = await import("@huggingface/hub");
  return await asking(client, name, { signal, mostFaults }, async (options) => {
    const info = await modelInfo({ ...options, name: name.repository, revision: name.revision, additionalFields: ["sha"] });
    const parsed = infoSchema.safeParse(info);
    if (!parsed.success) throw strange(name, client, "it names no commit");
    return parsed.data.sha;
  });
}

/**
 * The files of a model.
 *
 * @param options.recursive whether GGUF files in folders are among them, too; else only what lies at its top
 * @throws {LatentmeshError} why it cannot be had
 */
export async function listFiles(
  client: HubAsker,
  name: HubName,
  commit: string,
  { signal, recursive = false }: { readonly signal: AbortSignal; readonly recursive?: boolean },
): Promise<HubListing> {
  const { listFiles: list } = await import("@huggingface/hub");
  return await asking(client, name, { signal }, async (options) => {
    const files = new Map<string, HubFile>();
    for await (const entry of list({ ...options, repo: { type: "model", name: name.repository }, revision: commit, recursive })) {
      // Nothing else that is read here lies in a folder.
      if (entry.type !== "file" || (entry.path.includes("/") && !(recursive && isGguf(entry.path)))) continue;
      const parsed = entrySchema.safeParse(entry);
      if (!parsed.success) throw strange(name, client, `size or hash of "${printable(entry.path)}" are none`);
      files.set(entry.path, parsed.data);
    }
    return { commit, files };
  });
}

/** Asks with the package, and makes its errors ours. The token goes with the requests of our client: the package would show it to whoever a page leads to. */
async function asking<T>(
  client: HubAsker,
  name: HubName,
  { signal, mostFaults }: { readonly signal: AbortSignal; readonly mostFaults?: number },
  ask: (options: { readonly hubUrl: string; readonly fetch: typeof fetch }) => Promise<T>,
): Promise<T> {
  const { endpoint } = client.access;
  const model = formatHubName(name);
  // Without a network, a directory whose path is misspelt is looked for here in vain.
  const advice = model === name.repository ? `if a directory is meant, write ./${model}` : undefined;
  const patient = client.fetching({ what: `ask ${endpoint} for ${model}`, advice, mostFaults }, signal);
  let last: Response | null = null;
  let pages = 0;
  const remembered: typeof fetch = async (input) => {
    if (++pages > MOST_PAGES) throw strange(name, client, "it never ends");
    return last = await patient(input);
  };
  try {
    return await ask({ hubUrl: endpoint, fetch: remembered });
  } catch (error) {
    if (error instanceof LatentmeshError || signal.aborted) throw error;
    if (last !== null && !(last as Response).ok) throw refusal(last, name, client.access);
    throw strange(name, client, "it is not what a hub says", error);
  }
}

function strange(name: HubName, { access: { endpoint } }: HubAsker, problem: string, cause?: unknown): LatentmeshError {
  return new LatentmeshError("not_found", `Cannot use what ${endpoint} answers about ${formatHubName(name)}: ${problem}; is HF_ENDPOINT a hub?`, {
    param: "model",
    cause,
  });
}
