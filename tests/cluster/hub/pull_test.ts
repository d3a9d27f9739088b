/**
 * Models from a hub on loopback, into a cache.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { Random } from "../../../bench/support/random.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { requireSpace } from "../../../cluster/hub/disk_space.ts";
import { tryLock } from "../../../cluster/hub/file_lock.ts";
import { blobName, commitOf, type PublishedModel } from "../../support/hub/fake_hub.ts";
import type { Fault } from "../../support/hub/faults.ts";
import { assertWhole, HubUser, namesIn } from "../../support/hub/hub_user.ts";
import { neededOf, shardedModel } from "../../support/hub/models.ts";

const random = new Random(1);
const MODEL = shardedModel([70_000, 200_000, 5000].map((length) => random.bytes(length)));
const BYTES = neededOf(MODEL).reduce((sum, path) => sum + MODEL.files.get(path)!.length, 0);
const SHARDS = neededOf(MODEL).filter((path) => path.endsWith(".safetensors"));
const LARGEST = SHARDS[1];

function without(...paths: string[]): PublishedModel {
  return { ...MODEL, files: new Map([...MODEL.files].filter(([path]) => !paths.includes(path))) };
}

function withFile(path: string, text: string): PublishedModel {
  return { ...MODEL, files: new Map([...MODEL.files, [path, new TextEncoder().encode(text)]]) };
}

async function refusalOf(pull: Promise<unknown>): Promise<LatentmeshError> {
  return await assertRejects(() => pull, LatentmeshError);
}

describe("a model from a hub", () => {
  it("lies in the cache as Python's library lays it out, without what is not needed, and is fetched once", async () => {
    await using user = await HubUser.of({ models: [MODEL], pageSize: 3 });
    const seen: { doneBytes: number; totalBytes: number }[] = [];
    const { directory, commit, bytes, fetchedBytes } = await user.pull("test/sharded", { onProgress: (progress) => seen.push(progress) });
    assertEquals(directory, user.path("test/sharded", `snapshots/${commitOf(MODEL)}`));
    await assertWhole(directory, MODEL);
    assertEquals(await Deno.readTextFile(user.path("test/sharded", "refs/main")), commit);
    assertEquals(await namesIn(user.path("test/sharded", "blobs")), neededOf(MODEL).map((path) => blobName(MODEL.files.get(path)!)).sort());
    assertEquals([bytes, fetchedBytes, user.hub.sentBytes], [BYTES, BYTES, BYTES]);
    assertEquals(seen.at(-1), { doneBytes: BYTES, totalBytes: BYTES });
    assert(seen.every(({ doneBytes, totalBytes }) => doneBytes <= totalBytes));
    assertEquals(user.hub.contents[0].path, "config.json", "what says whether it can be run comes first");
    for (const name of ["test/sharded", `hf:test/sharded@${commit}`]) assertEquals((await user.pull(name)).fetchedBytes, 0);
    // Nobody is there, or may be asked.
    for (const client of [user.client({ offline: true }), user.client({ endpoint: "http://127.0.0.1:9" })]) {
      assertEquals((await user.pull("test/sharded", {}, client)).directory, directory);
    }
    assertEquals(user.hub.sentBytes, BYTES);
  });

  it("is what one file holds that an index does not name: the index is older", async () => {
    await using user = await HubUser.of({ models: [withFile("model.safetensors", "x".repeat(5000))] });
    const { directory } = await user.pull("test/sharded");
    const there = await namesIn(directory);
    assertEquals(there.filter((file) => file.endsWith(".safetensors")), ["model.safetensors"]);
    assertEquals((await user.pull("test/sharded", {}, user.client({ offline: true }))).directory, directory);
  });

  it("is fetched at the revision that was named, and shares with others what they have in common", async () => {
    const older = { ...withFile(SHARDS[2], "x".repeat(4100)), revisions: ["v1", "refs/pr/1"] };
    await using user = await HubUser.of({ models: [older] });
    const { commit } = await user.pull("test/sharded@refs/pr/1");
    assertEquals(await Deno.readTextFile(user.path("test/sharded", "refs/refs/pr/1")), commit);
    const { message } = await refusalOf(user.pull("test/sharded"));
    assertStringIncludes(message, 'has no revision "main"');
    await using hub = await HubUser.of({ models: [MODEL] });
    const { fetchedBytes } = await user.pull("test/sharded", {}, user.client({ endpoint: hub.hub.endpoint }));
    assertEquals(fetchedBytes, MODEL.files.get(SHARDS[2])!.length);
  });

  it("goes on from what is there of a file, whoever began it, unless it is something else", async () => {
    const [content, name] = [MODEL.files.get(LARGEST)!, blobName(MODEL.files.get(LARGEST)!)];
    const wrong = content.slice(0, 1000).reverse();
    const cases: [beginning: Uint8Array<ArrayBuffer>, sent: number][] = [
      [content.slice(0, 150_000), BYTES - 150_000],
      [content, BYTES - content.length],
      [new Uint8Array([...content, 1]), BYTES],
      [wrong, BYTES + content.length - wrong.length],
    ];
    for (const [beginning, sent] of cases) {
      await using user = await HubUser.of({ models: [MODEL] });
      await Deno.mkdir(user.path("test/sharded", "blobs"), { recursive: true });
      await Deno.writeFile(user.path("test/sharded", `blobs/${name}.incomplete`), beginning);
      await assertWhole((await user.pull("test/sharded")).directory, MODEL);
      assertEquals(user.hub.sentBytes, sent);
    }
  });

  it("is fetched from a server that knows no ranges, too", async () => {
    await using user = await HubUser.of({ models: [MODEL] });
    let broken = false;
    user.hub.fault = ({ path, kind }) => {
      if (path !== LARGEST || kind !== "content") return null;
      if (broken) return { kind: "unranged" };
      broken = true;
      return { kind: "break", after: 100_000 };
    };
    await assertWhole((await user.pull("test/sharded")).directory, MODEL);
  });

  it("is not used while a blob or a file of it has another length, or, if it is asked for, another hash", async () => {
    await using user = await HubUser.of({ models: [MODEL] });
    const { directory } = await user.pull("test/sharded");
    const content = MODEL.files.get(LARGEST)!;
    // Deno writes through no links.
    const path = user.path("test/sharded", `blobs/${blobName(content)}`);
    await Deno.truncate(path, 100);
    await user.pull("test/sharded");
    assertEquals(await Deno.readFile(path), content);
    await Deno.writeFile(path, content.toReversed());
    assertEquals((await user.pull("test/sharded")).fetchedBytes, 0);
    const { message } = await refusalOf(user.pull("test/sharded", { verify: true }, user.client({ offline: true })));
    assertStringIncludes(message, `Cannot use ${LARGEST}`);
    assertEquals((await user.pull("test/sharded", { verify: true })).fetchedBytes, content.length);
    await user.checkBlobs("test/sharded");
    await assertWhole(directory, MODEL);
  });

  it("is fetched by several at once without a byte twice, and by who comes later where the first gave up", async () => {
    await using user = await HubUser.of({ models: [MODEL], bytesPerSecond: 1_000_000 });
    const pulled = await Promise.all([user.pull("test/sharded"), user.pull("test/sharded"), user.pull("test/sharded")]);
    for (const { directory } of pulled) await assertWhole(directory, MODEL);
    assertEquals([user.hub.sentBytes, pulled.reduce((sum, { fetchedBytes }) => sum + fetchedBytes, 0)], [BYTES, BYTES]);
    await Deno.remove(user.path("test/sharded", ""), { recursive: true });
    const stop = new AbortController();
    const first = user.pull("test/sharded", {
      signal: stop.signal,
      onProgress: ({ doneBytes }) => doneBytes > BYTES / 2 && stop.abort(new Error("enough")),
    });
    const second = user.pull("test/sharded");
    await assertRejects(() => first, Error, "enough");
    await assertWhole((await second).directory, MODEL);
  });

  it("waits for a lock that another process holds, and takes one that was removed for nobody's", async () => {
    await using user = await HubUser.of({ models: [MODEL] });
    const name = blobName(MODEL.files.get(LARGEST)!);
    const locks = `${user.cache}/.locks/models--test--sharded`;
    await Deno.mkdir(locks, { recursive: true });
    const lock = (await tryLock(`${locks}/${name}.lock`))!;
    assertEquals(await tryLock(`${locks}/${name}.lock`), null);
    const stop = new AbortController();
    const pulling = user.pull("test/sharded", { signal: stop.signal });
    while (user.pauses.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
    assertEquals(user.hub.contents.some(({ path }) => path === LARGEST), false);
    await Deno.remove(`${locks}/${name}.lock`);
    await assertWhole((await pulling).directory, MODEL);
    lock[Symbol.dispose]();
  });
});

describe("a hub that refuses", () => {
  it("is told of with what to do", async () => {
    const secret = "hf_a_token_of_mine";
    const cases: [model: PublishedModel | null, token: string | null, code: string, said: string][] = [
      [null, null, "unauthorized", "has no model of that name, and there is no such directory here; if it is private or gated, set HF_TOKEN"],
      [null, "hf_other", "not_found", "or the token (HF_TOKEN) may not see it"],
      [{ ...MODEL, token: secret }, null, "unauthorized", "set HF_TOKEN"],
      [without("config.json"), null, "not_found", "it has no config.json"],
      [without("tokenizer.json"), null, "not_found", "it has none of tokenizer.json, tiktoken.model"],
      [
        without("model.safetensors.index.json", "model-q4_k_m.gguf"),
        null,
        "not_found",
        "such as pytorch_model.bin); look for the same model in one of these forms",
      ],
      [without(LARGEST), null, "not_found", `${LARGEST}, named by model.safetensors.index.json, is missing`],
      [
        withFile("model.safetensors.index.json", '{"weight_map": {"a": "../../a.safetensors"}}'),
        null,
        "invalid_checkpoint",
        "is not the name of a safetensors file beside it",
      ],
      [withFile("config.json", '{"model_type": "llama"}'), null, "unsupported", 'model_type "llama" is not supported'],
    ];
    for (const [model, token, code, said] of cases) {
      await using user = await HubUser.of({ models: model === null ? [] : [model] });
      const error = await refusalOf(user.pull("test/sharded", {}, user.client({ token })));
      assertStringIncludes(error.message, said);
      assertEquals(error.code, code, error.message);
      const weights = user.hub.contents.filter(({ path }) => path.endsWith(".safetensors"));
      assertEquals(weights, [], "no weights of what cannot be run");
    }
  });

  it("because it is gated, tells where to ask, and gives to who may have it; and nobody else sees the token", async () => {
    const token = "a token that begins as it likes";
    await using user = await HubUser.of({ models: [MODEL] });
    const gated = (status: number, code: string) =>
      user.hub.fault = ({ kind }) => kind === "resolve" ? { kind: "status", status, headers: { "x-error-code": code } } : null;
    gated(403, "GatedRepo");
    const error = await refusalOf(user.pull("test/sharded"));
    assertEquals(error.code, "unauthorized");
    assertStringIncludes(error.message, `it is gated: ask for access on ${user.hub.endpoint}/test/sharded, and set HF_TOKEN`);
    user.hub.fault = () => null;
    await user.pull("test/sharded", {}, user.client({ token }));
    const shown = user.hub.requests.filter(({ authorization }) => authorization !== null);
    assertEquals(shown.every(({ kind, authorization }) => kind !== "content" && authorization === `Bearer ${token}`), true);
    assert(user.hub.requests.some(({ kind }) => kind === "content") && shown.some(({ kind }) => kind === "resolve"));
    // A page of a listing that is elsewhere, and a commit.
    await using other = await HubUser.of({ models: [{ ...MODEL, repository: "test/elsewhere" }] });
    user.hub.fault = ({ kind }) =>
      kind === "tree" ? { kind: "redirect", to: `${other.hub.endpoint}/api/models/test/elsewhere/tree/${commitOf(MODEL)}` } : null;
    await user.pull("test/sharded", {}, user.client({ token }));
    assertEquals(other.hub.requests.map(({ kind, authorization }) => [kind, authorization]), [["tree", null]]);
  });

  it("in circles, for ever, or for hours is given up, and says so", async () => {
    const cases: [fault: (kind: string) => Fault | null, code: string, said: string, silentMs?: number][] = [
      [(kind) => kind === "info" ? { kind: "redirect", to: "self" } : null, "not_found", "redirects lead nowhere"],
      [(kind) => kind === "info" ? { kind: "redirect", to: "file:///etc/passwd" } : null, "not_found", "which is no address"],
      [(kind) => kind === "info" ? { kind: "status", status: 200 } : null, "not_found", "is HF_ENDPOINT a hub?"],
      [
        (kind) => kind === "content" ? { kind: "status", status: 200, headers: { "content-encoding": "gzip" } } : null,
        "not_found",
        "it is compressed (gzip), which was not asked for",
      ],
      [(kind) => kind === "tree" ? { kind: "status", status: 502 } : null, "not_found", "the server answers 502"],
      [(kind) => kind === "content" ? { kind: "status", status: 403 } : null, "not_found", "the server answers 403"],
      [(kind) => kind === "content" ? { kind: "status", status: 416 } : null, "not_found", "the server answers 416"],
      [(kind) => kind === "content" ? { kind: "stall", after: 0 } : null, "not_found", "says nothing for 0.2 s", 200],
      [(kind) => kind === "content" ? { kind: "other size", by: 5 } : null, "not_found", "and has listed one of"],
      [
        (kind) => kind === "resolve" ? { kind: "status", status: 429, headers: { "retry-after": "7200" } } : null,
        "overloaded",
        "ask again in 7200 s",
      ],
      [(kind) => kind === "info" ? { kind: "status", status: 429 } : null, "overloaded", "with a token (HF_TOKEN) a hub allows more"],
      [(kind) => kind === "resolve" ? { kind: "status", status: 404 } : null, "not_found", "has no such file there any more"],
      [
        (kind) => kind === "content" ? { kind: "corrupt", at: 7 } : null,
        "invalid_checkpoint",
        "has another hash than it lists (3 times); nothing of it is kept",
      ],
    ];
    await Promise.all(cases.map(async ([fault, code, said, silentMs]) => {
      await using user = await HubUser.of({ models: [MODEL], fault: ({ kind }) => fault(kind) }, { silentMs });
      const error = await refusalOf(user.pull("test/sharded"));
      assertStringIncludes(error.message, said);
      assertEquals(error.code, code, error.message);
      await user.checkBlobs("test/sharded");
    }));
  });

  it("by not being there is told of with how a directory is written, which may be what was meant", async () => {
    await using user = await HubUser.of({ models: [MODEL] });
    const nobody = user.client({ endpoint: "http://127.0.0.1:1" });
    assertStringIncludes((await refusalOf(user.pull("models/tiny", {}, nobody))).message, "; if a directory is meant, write ./models/tiny");
    const { message } = await refusalOf(user.pull("models/tiny@v2", {}, nobody));
    assertEquals([message.includes("for models/tiny@v2: "), message.includes("a directory")], [true, false], message);
  });

  it("for a while is asked again when it says, or ever later", async () => {
    await using user = await HubUser.of({ models: [MODEL] });
    const until = new Date(Date.now() + 90_000).toUTCString();
    const answers: Record<string, string>[] = [{ "retry-after": "3" }, { "retry-after": until }, {}, {}];
    user.hub.fault = ({ kind }) => {
      const headers = kind === "info" ? answers.shift() : undefined;
      return headers === undefined ? null : { kind: "status", status: 429, headers };
    };
    await user.pull("test/sharded");
    const [first, second, third, fourth] = user.pauses;
    assertEquals(first, 3000);
    assert(second > 60_000 && second <= 90_000, String(second));
    assert(fourth > third);
  });

  it("to list files truly has nothing written outside the cache, and no blob that is not what it lists", async () => {
    const evil = ["../../evil", "..", "/tmp/evil", "a/../../evil", "..\\evil", "config.json/../../evil"];
    await using user = await HubUser.of({ models: [MODEL], alsoListed: evil });
    await user.pull("test/sharded");
    assertEquals(await namesIn(user.cache), [".locks", "models--test--sharded"]);
    assertEquals(await namesIn(user.path("test/sharded", "")), ["blobs", "refs", "snapshots"]);
    assertEquals(await user.checkBlobs("test/sharded"), neededOf(MODEL).length);
    await using endless = await HubUser.of({ models: [MODEL], alsoListed: Array.from({ length: 300 }, (_, i) => `${i}\x1b[2J`), pageSize: 1 });
    assertStringIncludes((await refusalOf(endless.pull("test/sharded"))).message, "it never ends");
    assertEquals(await namesIn(endless.cache), []);
    const lies: [said: string, listed: (size: number) => Partial<{ size: number; oid: string }>][] = [
      ["has another hash than it lists", () => ({ oid: "a".repeat(64) })],
      ["and has listed one of", (size) => ({ size: size - 1 })],
      ["are none", () => ({ oid: "../../../evil" })],
      ["are none", () => ({ size: -1 })],
      ["make room", () => ({ size: 2 ** 52 })],
    ];
    for (const [said, lie] of lies) {
      await using user = await HubUser.of({
        models: [MODEL],
        listed: (entry) => entry.path === LARGEST ? { ...entry, lfs: { ...entry.lfs!, ...lie(entry.size) } } : entry,
      });
      assertStringIncludes((await refusalOf(user.pull("test/sharded"))).message, said);
      assertEquals(await namesIn(user.cache).then((names) => names.filter((name) => !/^(\.locks|models--test--sharded)$/.test(name))), []);
      await user.checkBlobs("test/sharded");
      if (said === "make room") assertEquals(user.hub.contents.some(({ path }) => path === LARGEST), false, "found before it is fetched");
    }
  });

  it("is of no use where nothing may be written", async () => {
    await using user = await HubUser.of({ models: [MODEL] });
    await Deno.writeTextFile(user.path("test/sharded", "").slice(0, -1), "a file in its place");
    const error = await refusalOf(user.pull("test/sharded"));
    assertEquals([error.code, error.message.includes("set HF_HOME to a directory of yours")], ["invalid_config", true]);
  });

  it("is not asked offline: what is there is taken whole, or it is said what is missing", async () => {
    await using user = await HubUser.of({ models: [MODEL] });
    const offline = () => user.pull("test/sharded", {}, user.client({ offline: true }));
    assertStringIncludes((await refusalOf(offline())).message, `it is not in ${user.cache}, and HF_HUB_OFFLINE forbids to fetch it`);
    const { directory } = await user.pull("test/sharded");
    const asked = user.hub.requests.length;
    await Deno.remove(`${directory}/${LARGEST}`);
    assertStringIncludes((await refusalOf(offline())).message, `it is only in part (${LARGEST} is missing)`);
    assertEquals(user.hub.requests.length, asked);
  });
});

describe("room on a disk", () => {
  it("is looked for before anything large is fetched", async () => {
    await requireSpace("/", 10e9, "a/b", () => Promise.resolve(11e9));
    await requireSpace("/", 10e9, "a/b", () => Promise.resolve(null));
    await requireSpace("/", 0, "a/b", () => Promise.resolve(0));
    const error = await refusalOf(requireSpace("/the/cache", 10e9, "a/b", () => Promise.resolve(10e9)));
    assertEquals([error.code, error.message.includes("10.0 GB are missing, and /the/cache has room for 10.0 GB")], ["capacity", true]);
  });
});
