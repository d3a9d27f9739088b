/**
 * Documents are what the code says, no wider than they should be, and their links lead somewhere.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { parse } from "yaml";
import { resolveSettings } from "../../cluster/config/settings.ts";
import { checkConfig } from "../../cluster/config/config.ts";
import { describedProgram } from "../support/docs/flag_lists.ts";
import { FLAG_GROUPS } from "../../cluster/config/flag_groups.ts";
import manifest from "../../deno.json" with { type: "json" };
import { usage } from "../../bench/main.ts";
import { snippetsOf } from "../support/docs/snippets.ts";
import { documentPaths } from "../support/docs/documents.ts";
import { generated, WIDTH } from "../support/docs/generate.ts";
import { ROOT } from "../../bench/support/root.ts";

const textOf = (path: string) => Deno.readTextFile(`${ROOT}/${path}`);

describe("documents", () => {
  it("hold what is generated from the code as the code is now (deno task docs)", async () => {
    for (const path of await documentPaths()) assertEquals(await generated(path), await textOf(path), `${path}: run deno task docs`);
  });

  it(`have at most ${WIDTH} columns, but for tables and addresses`, async () => {
    for (const path of await documentPaths()) {
      const wide = (await textOf(path)).split("\n").filter((line) => line.length > WIDTH && !/^\||^\s*\S+$/.test(line));
      // Nobody can wrap a table; the README has none that needs it.
      const table = path === "README.md" ? (await textOf(path)).split("\n").filter((line) => line.length > WIDTH) : [];
      assertEquals([...wide, ...table], [], path);
    }
  });

  it("link to files and headings that exist", async () => {
    for (const path of await documentPaths()) {
      const base = new URL(path, `file://${ROOT}/`);
      for (const [, target] of (await textOf(path)).matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^[a-z]+:/.test(target)) continue;
        const url = new URL(target, base);
        const file = decodeURIComponent(url.pathname);
        const found = await Deno.stat(file).then(() => true, () => false);
        assert(found, `${path} links to ${target}`);
        if (url.hash !== "") assert(headings(await Deno.readTextFile(file)).includes(url.hash.slice(1)), `${path} links to ${target}`);
      }
    }
  });

  it("name files of the project that exist", async () => {
    for (const path of await documentPaths()) {
      const named = [...(await textOf(path)).matchAll(/`((?:core|kernels|workers|cluster|tests|bench|docs|models)\/[\w./-]+)`/g)].map(([, name]) =>
        name
      );
      for (const name of named.filter((name) => !/[A-Z]{3}/.test(name) || name === "bench/NOTES.md")) {
        const found = await Promise.any([name, `${name}.ts`].map((each) => Deno.stat(`${ROOT}/${each}`))).then(() => true, () => false);
        assert(found, `${path} names ${name}`);
      }
    }
  });

  it("show commands whose tasks, flags and benches exist, and cluster files that can be used", async () => {
    const { commands } = describedProgram();
    for (const path of await documentPaths()) {
      const snippets = snippetsOf(await textOf(path));
      for (const { text } of snippets.flatMap((snippet) => snippet.commands)) {
        const [, task, rest] = /\bdeno(?:@[\d.]+)? task (\w+)(.*)$/s.exec(text) ?? [];
        if (task === undefined) continue;
        assert(task in manifest.tasks, `${path}: ${text}`);
        const bench = /^ (\w[\w-]*)/.exec(rest)?.[1];
        if (task === "bench" && bench !== undefined) assertEquals(usage(bench, []), null, `${path}: ${text}`);
        const command = commands.find((command) => command.name() === task);
        for (const [flag] of command === undefined ? [] : rest.matchAll(/--[a-z][\w-]*/g)) {
          assert(command!.options.some(({ long }) => long === flag), `${path}: ${flag} of ${text}`);
        }
      }
      for (const { code } of snippets.filter(({ language }) => language === "yaml")) checkConfig(parse(code), path);
    }
  });

  it("show a cluster file of defaults that says nothing new", async () => {
    const blocks = [...(await textOf("docs/configuration.md")).matchAll(/```yaml\n(.*?)```/gs)].map(([, text]) => text);
    const whole = checkConfig(parse(blocks[0]), "docs/configuration.md");
    const { decode, prefill, cache, model: _, ...rest } = whole;
    const [given, standard] = [resolveSettings({}, { decode, prefill, cache, ...rest }, () => undefined), resolveSettings({}, {}, () => undefined)];
    assertEquals(given.decode, { ...standard.decode, scheme: { ...standard.decode.scheme, latentGroups: 2, halo: undefined } });
    assertEquals([given.host, given.port, given.weights, given.prefill.workers], [standard.host, standard.port, standard.weights, 1]);
  });
});

describe("flags", () => {
  it("each have a group, and groups no flags that are gone", () => {
    const serve = describedProgram().commands.find((command) => command.name() === "serve")!;
    assertEquals([...serve.options.map((option) => option.name()), "help"].sort(), Object.values(FLAG_GROUPS).flat().sort());
  });
});

/** As GitHub makes names of them. */
function headings(markdown: string): string[] {
  return [...markdown.matchAll(/^#+ (.*)$/gm)].map(([, title]) => title.toLowerCase().replace(/[^\w\- ]/g, "").replaceAll(" ", "-"));
}
