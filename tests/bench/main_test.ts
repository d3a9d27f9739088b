import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { usage } from "../../bench/main.ts";

describe("deno task bench", () => {
  it("says what there is instead of running what there is not", () => {
    for (const name of [undefined, "--help", "rooflines", "toString"]) assert(usage(name, [])?.includes("roofline"), `${name}`);
  });

  it("says what a bench takes instead of running it", () => {
    for (const help of ["--help", "-h"]) assert(usage("prefill", ["--tokens", "64", help])?.includes("--sizes"), help);
    assertEquals(usage("prefill", ["--tokens", "64"]), null);
  });
});
