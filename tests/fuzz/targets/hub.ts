/**
 * What hubs say of a model.
 *
 * @module
 */
import { type HubAsker, listFiles, resolveCommit } from "../../../cluster/hub/listing.ts";
import { smallFiles, weightFiles } from "../../../cluster/hub/needed_files.ts";
import { RepositoryCache } from "../../../cluster/hub/repository_cache.ts";
import { INDEX_FILE } from "../../../core/model/checkpoint.ts";
import type { Random } from "../../../bench/support/random.ts";
import { mutateJson, mutateText, pick } from "../mutate.ts";
import { named, type Target } from "../target.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
const INFO = { _id: "1", id: "a/b", sha: COMMIT, private: false, gated: false, lastModified: "2026-01-01T00:00:00Z" };
const PAGE = ["config.json", "tokenizer.json", INDEX_FILE, ...SHARDS].map((path) => ({
  type: "file",
  path,
  size: 135,
  oid: COMMIT,
  ...path.endsWith(".safetensors") ? { lfs: { oid: COMMIT + COMMIT.slice(0, 24), size: 1e9, pointerSize: 135 } } : {},
}));
const INDEX = { weight_map: { a: SHARDS[0], b: SHARDS[1] } };
const LINK = '<https://hub/api/models/a/b/tree/x?cursor=1>; rel="next"';

/** An answer, as JSON or nearly. */
function answer(random: Random, value: unknown): Response {
  const text = JSON.stringify(mutateJson(random, value)) ?? "";
  const headers: Record<string, string> = random.below(4) === 0
    ? { link: mutateText(random, LINK, ["<", ">", ";", "rel", "next", "http://"]).replace(/[^ -~]/g, "") }
    : {};
  return new Response(random.below(8) === 0 ? text.slice(random.below(text.length)) : text, {
    status: pick(random, [200, 200, 200, 401, 404]),
    headers,
  });
}

/** Commits, pages of files, and indices: refused by name, or files that lie in the cache. */
export const hubAnswers: Target = {
  name: "hub answers",
  async run(random) {
    let pages = 0;
    const client: HubAsker = {
      access: { endpoint: "https://hub", token: null, cache: "/cache", offline: false },
      fetching: () => (input) => {
        if (!String(input).includes("/tree/")) return Promise.resolve(answer(random, INFO));
        return Promise.resolve(++pages > 3 ? Response.json([]) : answer(random, PAGE));
      },
    };
    const name = { repository: "a/b", revision: "main" };
    const { signal } = new AbortController();
    await named(async () => {
      const commit = await resolveCommit(client, name, { signal });
      const { files } = await listFiles(client, name, commit, { signal, recursive: true });
      const small = smallFiles(files, "a/b");
      const weights = weightFiles(files, JSON.stringify(mutateJson(random, INDEX)) ?? "", "a/b");
      const cache = new RepositoryCache("/cache", "a/b");
      for (const file of [...small, ...weights]) {
        const paths = [cache.blob(file), cache.lock(file), `${cache.snapshot(commit)}/${file.path}`];
        for (const path of paths) {
          if (new URL(`file://${path}`).pathname !== path || !path.startsWith("/cache/")) throw new Error(`${path} lies elsewhere`);
        }
        if (!Number.isSafeInteger(file.size) || file.size < 0) throw new Error(`${file.size} is no size`);
      }
    });
  },
};
