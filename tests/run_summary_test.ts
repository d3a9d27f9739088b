/**
 * What `deno task test` says at its end, made of what `deno test` prints.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ROOT } from "../bench/support/root.ts";
import { endsWithin } from "./support/ends_within.ts";
import { LEFT_OUT } from "./support/extent.ts";
import { RunSummary } from "./support/run_summary.ts";
import { GROUP_MODULE, groupModule, nameGroup, namesTests, testFiles, testGroups } from "./support/test_groups.ts";

const OUTPUT = `
./tests/a_test.ts => a suite ... on wasm ... adds ... ok (3ms)
./tests/a_test.ts => a suite ... on cpu ... ${LEFT_OUT} ... ignored (0ms)
./tests/b_test.ts => models ... on cpu ... 8 of 10 models: ${LEFT_OUT} ... ignored (0ms)
./tests/b_test.ts => models ... on deno: skipped, no GPU driver ... ignored (0ms)
  on one processor, where files run in turn: ${LEFT_OUT} ... ignored (0ms)

FAILED | 250 passed (1774 steps) | 1 failed (2 steps) | 2 ignored (137 steps) (8m10s)
`;

describe("the summary of a run", () => {
  it("has what was left out, by name, and how many passed and failed, however its output comes", () => {
    for (const size of [1, 7, OUTPUT.length]) {
      const summary = new RunSummary();
      for (let at = 0; at < OUTPUT.length; at += size) summary.push(OUTPUT.slice(at, at + size));
      assertEquals(summary.leftOut, [
        "tests/a_test.ts => a suite ... on cpu",
        "tests/b_test.ts => models ... on cpu ... 8 of 10 models",
        "on one processor, where files run in turn",
      ]);
      assertEquals([summary.passed, summary.failed], [2024, 3]);
    }
  });

  it("knows which have been running for long, until one ends", () => {
    const summary = new RunSummary();
    summary.push(
      "'a suite' has been running for over (1m0s)\n'another' has been running for over (1m0s)\n'a suite' has been running for over (2m0s)\n",
    );
    assertEquals([[...summary.slow], summary.lines], [["a suite", "another"], 0]);
    summary.push("./tests/a_test.ts => a suite ... adds ... ok (2m)\n");
    assertEquals([[...summary.slow], summary.lines], [[], 1]);
  });

  it("counts tests without steps, and a run that does not come to its end as one that failed", () => {
    const summary = new RunSummary();
    assertEquals([summary.passed, summary.failed, summary.leftOut], [0, 1, []]);
    summary.push("ok | 1 passed | 0 failed (12ms)\n");
    assertEquals([summary.passed, summary.failed], [1, 0]);
  });
});

describe("tests that share an isolate", () => {
  it("are those of a folder, after all that have one each, and every file is in one group", async () => {
    const files = ["tests/a_test.ts", "tests/e/b_test.ts", "tests/e/c_test.ts", "tests/m/n/d_test.ts", "tests/m/n/o/p_test.ts", "tests/m/e_test.ts"];
    assertEquals(testGroups(files.toReversed(), ["tests/m/e_test.ts", "tests/e"]).map(({ name, files }) => [name, files]), [
      ["tests/m/e_test.ts", ["tests/m/e_test.ts"]],
      ["tests/e/b_test.ts", ["tests/e/b_test.ts"]],
      ["tests/e/c_test.ts", ["tests/e/c_test.ts"]],
      ["tests/m/n", ["tests/m/n/d_test.ts", "tests/m/n/o/p_test.ts"]],
      ["tests/a_test.ts", ["tests/a_test.ts"]],
    ]);
    const all = (await testFiles(`${ROOT}/tests`)).map((path) => path.slice(ROOT.length + 1));
    assert(all.includes("tests/run_summary_test.ts"));
    assertEquals(testGroups(all, ["tests/e2e"]).flatMap(({ files }) => files).toSorted(), all.toSorted());
  });

  it("are loaded by one module, and are called by their folder in output", async () => {
    const folder = await Deno.makeTempDir({ prefix: "tests+" });
    const path = `${folder}/tests/m/${GROUP_MODULE}`;
    await Deno.mkdir(`${folder}/tests/m`, { recursive: true });
    await Deno.writeTextFile(
      path,
      groupModule({ name: "tests/m", files: ["tests/core/limited_test.ts", "tests/core/sampling/adjustments_test.ts"] }),
    );
    const args = ["test", "--no-check", "--lock=tests/deno.lock", "--parallel", path];
    const { stdout } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT, env: { NO_COLOR: "1" } }).output();
    const summary = new RunSummary((line) => nameGroup(line, folder));
    const lines = summary.push(new TextDecoder().decode(stdout)).filter((line) => line.includes(" => "));
    assertEquals([summary.passed > 3, summary.failed], [true, 0], lines.join("\n"));
    assert(lines.length > 3 && lines.every((line) => line.startsWith("./tests/m/*_test.ts => ")), lines.join("\n"));
    await Deno.remove(folder, { recursive: true });
  });

  it("are called by their folder where the checkout is beside their modules, too, of which Deno prints relative paths", () => {
    const line = `../../tests-1f/tests/m/${GROUP_MODULE} => a suite ... ok (1ms)`;
    assertEquals(nameGroup(line, "/tmp/tests-1f"), "./tests/m/*_test.ts => a suite ... ok (1ms)");
  });

  it("are all there where a filter has a word of its own, which is no file", () => {
    for (const args of [[], ["--fail-fast"], ["--filter", "a suite"], ["--filter=a suite"]]) assertEquals(namesTests(args), false, args.join(" "));
    for (const args of [["tests/a_test.ts"], ["--filter", "a suite", "tests/core"]]) assertEquals(namesTests(args), true, args.join(" "));
  });
});

describe("a test", () => {
  it("that waits for what does not come fails by name, and one that ends says what it has to", async () => {
    const never = () => new Promise<void>((resolve) => setTimeout(resolve, 30));
    const error = await assertRejects(() => endsWithin("a wait", never, 1), Error);
    assertEquals(error.message, "a wait: has not ended within 0.001 s");
    assertEquals(await endsWithin("an answer", () => 3), 3);
    await assertRejects(() => endsWithin("a failure", () => Promise.reject(new TypeError("no"))), TypeError, "no");
    await never();
  });
});
