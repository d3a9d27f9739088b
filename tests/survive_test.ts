/**
 * The tests that docs/survive.md names exist.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { ROOT } from "../bench/support/root.ts";

describe("docs/survive.md", () => {
  it("names tests that exist, for each of the twenty cases", async () => {
    const text = await Deno.readTextFile(`${ROOT}/docs/survive.md`);
    const named = [...text.matchAll(/`(tests\/[\w/]+_test\.ts)`: ([^|;]+?)\s*(?=;|\|)/g)];
    assert(named.length >= 30, `${named.length} tests`);
    for (const [, file, name] of named) {
      const source = await Deno.readTextFile(`${ROOT}/${file}`);
      assert(source.includes(name), `${file} has no test "${name}"`);
    }
    const rows = [...text.matchAll(/^\| (\d+)\./gm)].map(([, number]) => Number(number));
    assertEquals(rows.sort((a, b) => a - b), Array.from({ length: 20 }, (_, i) => i + 1));
  });
});
