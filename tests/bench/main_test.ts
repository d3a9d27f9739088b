import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { sentenceOf, usage } from "../../bench/main.ts";
import { parseCpuOptions } from "../../bench/cpu/options.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { parseOptions } from "../../bench/whole/options.ts";

describe("deno task bench", () => {
  it("says what there is instead of running what there is not", () => {
    for (const name of [undefined, "--help", "rooflines", "toString"]) assert(usage(name, [])?.includes("roofline"), `${name}`);
  });

  it("says what a bench takes instead of running it", () => {
    for (const help of ["--help", "-h"]) assert(usage("prefill", ["--tokens", "64", help])?.includes("--sizes"), help);
    assertEquals(usage("prefill", ["--tokens", "64"]), null);
    assert(usage("rooflines", [])?.startsWith('There is no bench "rooflines".'));
  });

  it("say what there is where a part or a size of a bench is asked for that there is not, instead of measuring nothing", () => {
    const said = (...args: string[]) => assertThrows(() => parseCpuOptions(args), Error).message;
    assertEquals(said("--only", "tiny,kernel"), '--only: "kernel" is none of kernels, tiny, threads, large, gguf, serve, many');
    assertEquals(said("--sizes", "v3"), '--sizes: "v3" is none of tiny, v2-lite');
    assertEquals(said("--experts", "none"), '--experts: expected a whole number from 1, got "none"');
    assertEquals([...parseCpuOptions(["--only", "many,tiny"]).only], ["many", "tiny"]);
  });

  it("say what cannot be done in a sentence, and faults of theirs with their place", () => {
    assertEquals(sentenceOf(new Error('--cases: "foo" is none')), '--cases: "foo" is none');
    let thrown: unknown;
    try {
      parseOptions(["--topolgy", "x"]);
    } catch (error) {
      thrown = error;
    }
    assert(sentenceOf(thrown)?.includes("--topolgy"), String(thrown));
    assertEquals(sentenceOf(new LatentmeshError("invalid_config", "Cannot use that")), "Cannot use that");
    const ours = [new TypeError("x is not a function"), new LatentmeshError("internal", "a fault"), "text"];
    assertEquals(ours.map(sentenceOf), [null, null, null]);
  });
});
