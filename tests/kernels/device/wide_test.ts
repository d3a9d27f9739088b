/**
 * V8 started with what makes instructions of eight floats: the same bits as without.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { wideFlags } from "../../../core/wide_kernels.ts";
import { bitsOf } from "../../support/wasm/wide_bits.ts";

describe("kernels of eight floats", () => {
  it("give the bits of those of four, as V8 compiles them with its flags and without", async () => {
    const child = new URL("../../support/wasm/wide_bits.ts", import.meta.url).href;
    // Compiled for good at once, not when they have run often.
    const flags = ["--no-liftoff", ...wideFlags()];
    const args = ["run", "--quiet", "--no-check", "-A", "--lock=tests/deno.lock", `--v8-flags=${flags.join()}`, child];
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, stdout: "piped", stderr: "piped" }).output();
    const here = await bitsOf(false);
    assertEquals(new TextDecoder().decode(stdout).trim(), here, new TextDecoder().decode(stderr));
    assertEquals(await bitsOf(true), here);
  });

  it("are asked for only where V8 is known to know how", () => {
    assertEquals(wideFlags({ v8: "15.0.245.2-rusty", arch: "x86_64" }), ["--no-wasm-bounds-checks", "--experimental-wasm-revectorize"]);
    for (const host of [{ v8: "15.1.0", arch: "x86_64" }, { v8: "15.0.245.2-rusty", arch: "aarch64" }]) assertEquals(wideFlags(host), []);
  });
});
