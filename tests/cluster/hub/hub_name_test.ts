import fc from "npm:fast-check@4.10.2";
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { hubNameOf } from "../../../cluster/config/fetch_model.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { formatHubName, parseHubName } from "../../../cluster/hub/hub_name.ts";
import { RepositoryCache } from "../../../cluster/hub/repository_cache.ts";

describe("names of models on a hub", () => {
  it("are told from directories", () => {
    const names: [text: string, repository: string, revision: string][] = [
      ["zai-org/GLM-4.7-Flash", "zai-org/GLM-4.7-Flash", "main"],
      ["hf:deepseek-ai/DeepSeek-V2-Lite", "deepseek-ai/DeepSeek-V2-Lite", "main"],
      ["a/b@v1.0", "a/b", "v1.0"],
      ["a/b@refs/pr/3", "a/b", "refs/pr/3"],
      [`a/b@${"0".repeat(40)}`, "a/b", "0".repeat(40)],
    ];
    for (const [text, repository, revision] of names) assertEquals(parseHubName(text), { repository, revision });
    const others = [
      "model",
      "./a/b",
      "/a/b",
      "a/b/c",
      "a/b/",
      "../b",
      "a/..",
      "a/.b",
      "a--b/c",
      "a/b@",
      "a/b@../x",
      "a/b@x//y",
      "a/b@-x",
      "synthetic:tiny",
      "",
    ];
    for (const text of [...others, "a/b:", "a/b:x/y", "a/b/c.gguf", "c.gguf"]) assertEquals(parseHubName(text), null, text);
    for (const text of ["hf:", "hf:model", "hf:./a/b", "hf:a/b@../../x"]) {
      assertThrows(() => parseHubName(text), LatentmeshError, "names on a hub are hf:org/name");
    }
  });

  it("say which GGUF file is meant, by its precision or its path", () => {
    const names: [text: string, revision: string, gguf: string, written?: string][] = [
      ["a/b:Q4_K_M", "main", "Q4_K_M"],
      ["hf.co/a/b:q8_0", "main", "q8_0", "a/b:q8_0"],
      ["a/b@v1:UD-Q4_K_XL", "v1", "UD-Q4_K_XL"],
      ["hf:a/b/c.gguf", "main", "c.gguf"],
      ["hf:a/b@v1/d/c-00001-of-00002.GGUF", "v1", "d/c-00001-of-00002.GGUF"],
      ["hf:a/b@refs/pr/1/d/c.gguf", "refs/pr/1", "d/c.gguf"],
    ];
    for (const [text, revision, gguf, written = text] of names) {
      assertEquals(parseHubName(text), { repository: "a/b", revision, gguf });
      assertEquals(formatHubName({ repository: "a/b", revision, gguf }), written);
    }
    for (const text of ["hf:a/b/../c.gguf", "hf:a/b//c.gguf", "hf:a/b/.c.gguf", "hf:a/b:"]) {
      assertThrows(() => parseHubName(text), LatentmeshError, "of GGUF files hf:org/name:Q4_K_M or hf:org/name/file.gguf");
    }
  });

  it("are none where a directory of that name is here, unless they say so", async () => {
    assertEquals(await hubNameOf("models/tiny-mla"), null);
    assertEquals(await hubNameOf("hf:models/tiny-mla"), { repository: "models/tiny-mla", revision: "main" });
    assertEquals(await hubNameOf("models/no-such-model"), { repository: "models/no-such-model", revision: "main" });
  });

  it("never lead out of the cache, and are what they were when they are written again", () => {
    const part = fc.string({ unit: fc.constantFrom("a", "B", "0", ".", "-", "_", "/", "\\", "~", "..", ":", ".gguf"), minLength: 1, maxLength: 6 });
    const text = fc.tuple(fc.constantFrom("", "hf:"), part, part, fc.oneof(fc.constant(""), part.map((part) => `@${part}`)))
      .map(([prefix, organisation, name, revision]) => `${prefix}${organisation}/${name}${revision}`);
    let found = 0;
    fc.assert(
      fc.property(text, (text) => {
        let name;
        try {
          name = parseHubName(text);
        } catch (error) {
          assert(error instanceof LatentmeshError);
          return;
        }
        if (name === null) return;
        found++;
        assertEquals(parseHubName(formatHubName(name)), name);
        const { root } = new RepositoryCache("/cache", name.repository);
        for (const path of [root, `${root}/refs/${name.revision}`, `${root}/snapshots/x/${name.gguf ?? ""}`]) {
          assertEquals(new URL(`file://${path}`).pathname, path);
          assert(path.startsWith("/cache/models--"));
        }
      }),
      { seed: 24, numRuns: 20_000 },
    );
    assert(found > 100, `only ${found} of them were names`);
  });
});
