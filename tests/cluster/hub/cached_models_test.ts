import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Random } from "../../../bench/support/random.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { cachedModels, removeModel } from "../../../cluster/hub/cached_models.ts";
import { tryLock } from "../../../cluster/hub/file_lock.ts";
import { parseHubName } from "../../../cluster/hub/hub_name.ts";
import { blobName } from "../../support/hub/fake_hub.ts";
import { assertWhole, HubUser, namesIn } from "../../support/hub/hub_user.ts";
import { neededOf, shardedModel } from "../../support/hub/models.ts";

const random = new Random(2);
const [first, second, third] = [10_000, 20_000, 30_000].map((length) => random.bytes(length));
const OLD = shardedModel([first, second], { revisions: ["v1"] });
const NEW = shardedModel([first, third], { revisions: ["main"] });
const sizeOf = (model: typeof OLD) => neededOf(model).reduce((sum, path) => sum + model.files.get(path)!.length, 0);

describe("models in the cache", () => {
  it("are listed with their revisions, and removed with what no other revision needs", async () => {
    await using user = await HubUser.of({ models: [OLD] });
    assertEquals(await cachedModels(user.cache), []);
    const { commit: old } = await user.pull("test/sharded@v1");
    {
      await using hub = await HubUser.of({ models: [NEW] });
      const { directory, commit } = await user.pull("test/sharded", {}, user.client({ endpoint: hub.hub.endpoint }));
      const [model, ...others] = await cachedModels(user.cache);
      assertEquals([others, model.repository, model.partialBytes], [[], "test/sharded", 0]);
      const revisions = [{ commit: old, refs: ["v1"], bytes: sizeOf(OLD), missing: null, gguf: [] }, {
        commit,
        refs: ["main"],
        bytes: sizeOf(NEW),
        missing: null,
        gguf: [],
      }];
      assertEquals(model.revisions, revisions.toSorted((a, b) => a.commit < b.commit ? -1 : 1));
      assertEquals(model.bytes, sizeOf(NEW) + second.length);
      await assertRejects(() => removeModel(user.cache, parseHubName("test/sharded@v2")!, { onlyRevision: true }), LatentmeshError, "it is not in");
      assertEquals(await removeModel(user.cache, parseHubName("test/sharded@v1")!, { onlyRevision: true }), second.length);
      await assertWhole(directory, NEW);
      await user.checkBlobs("test/sharded");
    }
    const lock = (await tryLock(`${user.cache}/.locks/models--test--sharded/${blobName(third)}.lock`))!;
    await assertRejects(
      () => removeModel(user.cache, parseHubName("test/sharded")!, { onlyRevision: false }),
      LatentmeshError,
      "another process fetches it",
    );
    lock[Symbol.dispose]();
    assertEquals(await removeModel(user.cache, parseHubName("test/sharded")!, { onlyRevision: false }), sizeOf(NEW));
    assertEquals([await cachedModels(user.cache), await namesIn(user.cache)], [[], [".locks"]]);
    await assertRejects(() => removeModel(user.cache, parseHubName("test/sharded")!, { onlyRevision: false }), LatentmeshError, "it is not in");
  });

  it("that are there in part are listed with what is missing, and removed as well", async () => {
    // Half of the last file comes, and then nothing.
    const shards = neededOf(OLD).filter((path) => path.endsWith(".safetensors"));
    await using user = await HubUser.of({
      models: [OLD],
      fault: ({ kind, path }) => kind === "content" && path === shards[1] ? { kind: "stall", after: 5000 } : null,
    });
    const stop = new AbortController();
    const onProgress = ({ doneBytes }: { doneBytes: number }) => doneBytes >= sizeOf(OLD) - 15_000 && stop.abort(new Error("enough"));
    await assertRejects(() => user.pull("test/sharded@v1", { signal: stop.signal, onProgress }), Error, "enough");
    const [{ partialBytes, bytes, revisions: [{ missing }] }] = await cachedModels(user.cache);
    assert(shards.includes(missing!), String(missing));
    assert(partialBytes > 0 && partialBytes < bytes);
    assertEquals(await removeModel(user.cache, parseHubName("test/sharded")!, { onlyRevision: false }), bytes);
  });
});
