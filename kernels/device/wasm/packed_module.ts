/**
 * Compiled kernels as they are committed: as text, which Deno imports from everywhere without a permission; compressed, since registries limit packages.
 *
 * @module
 */

/** Compiles them. Unpacked by a stream, since loading Node's zlib takes a worker's process longer (bench/NOTES.md). */
export async function compilePacked(text: string): Promise<WebAssembly.Module> {
  return await WebAssembly.compile(await unpackModule(text));
}

/** A module's bytes. */
export async function unpackModule(text: string): Promise<Uint8Array<ArrayBuffer>> {
  const compressed = new Blob([Uint8Array.fromBase64(text)]).stream();
  return await new Response(compressed.pipeThrough(new DecompressionStream("gzip"))).bytes();
}
