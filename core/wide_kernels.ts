/**
 * With what V8 is started where kernels of `wasm` are all that it runs as WebAssembly: a worker's process. It has half the instructions then (bench/NOTES.md).
 *
 * `--experimental-wasm-revectorize` makes one instruction of eight floats out of two of four that lie beside each other, where the processor has such. It needs
 * `--no-wasm-bounds-checks`: Deno leaves every access to be checked by two instructions, between which nothing can be joined. Without them an address beyond the end of
 * the device's memory ends the process instead of raising an error: addresses have 32 bits, and the device's memory, which can grow to 4 GiB and is shared, has that much
 * reserved for it from the beginning, the last page of it for what instructions add to an address of a block.
 *
 * V8 does not keep that an address in the last bytes of all 32 bits, plus what an instruction adds, reaches nothing; nor does it reserve, or say that it has not, all 4 GiB
 * in a process whose address space is limited (`ulimit -v`). Only a kernel that leaves its blocks would tell. So tests run kernels where every access is checked, with each
 * block in turn at the end of memory (tests/support/wasm/guarded.ts).
 *
 * @module
 */

/** Versions of V8, without what comes after, whose flags these are: one that does not know a flag does not start. */
const KNOWN_V8 = /^15\.0\./;

/** The flags, as `--v8-flags` takes them. */
export const WIDE_FLAGS = ["--no-wasm-bounds-checks", "--experimental-wasm-revectorize"] as const;

/** The flags; none where they are not known. @param host its V8 and architecture, as Deno has them */
export function wideFlags(
  { v8, arch }: { readonly v8: string; readonly arch: string } = { v8: Deno.version.v8, arch: Deno.build.arch },
): readonly string[] {
  return KNOWN_V8.test(v8) && arch === "x86_64" ? WIDE_FLAGS : [];
}
