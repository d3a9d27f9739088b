/**
 * Compiles the kernels of the device `wasm`, which are AssemblyScript (`*.as`, beside the other kernels of the same operation), to what is committed.
 *
 * @module
 */
import { gzipSync } from "node:zlib";
import asc from "npm:assemblyscript@0.28.20/asc";

const ROOT = new URL("../../../kernels/", import.meta.url);

/** Variants of a · b + c: rounded once, as some processors can, and twice. */
export const VARIANTS = ["fused", "plain"] as const;

/** The module of a variant. @throws {Error} with the compiler's words if it does not compile */
export async function compileWasm(variant: typeof VARIANTS[number]): Promise<Uint8Array<ArrayBuffer>> {
  let compiled: Uint8Array<ArrayBuffer> | null = null;
  const { error, stderr } = await asc.main([
    "device/wasm/pool",
    ...["-O3", "--noAssert", "--runtime", "stub", "--enable", "simd,relaxed-simd,threads"],
    // Shared by all threads, of which none has data of its own there.
    ...["--importMemory", "--sharedMemory", "--initialMemory", "1", "--maximumMemory", "65536"],
    ...["--outFile", "kernels.wasm"],
  ], {
    readFile: (name) => readSource(name.replace(/^device\/wasm\/madd\.ts$/, `device/wasm/${variant}.ts`)),
    writeFile: (_, contents) => void (compiled = new Uint8Array(contents as Uint8Array)),
    listFiles: () => [],
  });
  if (error !== null || compiled === null) throw new Error(`The kernels do not compile:\n${stderr}`);
  return compiled;
}

/** Where a variant is committed. */
export function committedFile(variant: typeof VARIANTS[number]): URL {
  return new URL(`device/wasm/${variant}.base64`, ROOT);
}

/** As it is committed, see `packed_module.ts`, in lines. */
function packModule(bytes: Uint8Array<ArrayBuffer>): string {
  return new Uint8Array(gzipSync(bytes, { level: 9 })).toBase64().replace(/.{150}/g, "$&\n") + "\n";
}

/** AssemblyScript asks for `.ts`; its files are called otherwise, since no other compiler understands them. */
function readSource(name: string): string | null {
  try {
    return Deno.readTextFileSync(new URL(name.replace(/\.ts$/, ".as"), ROOT));
  } catch {
    // Asked for under several names, of which one is there.
    return null;
  }
}

if (import.meta.main) {
  for (const variant of VARIANTS) {
    const bytes = await compileWasm(variant);
    await Deno.writeTextFile(committedFile(variant), packModule(bytes));
    console.log(`${variant}: ${bytes.length} bytes`);
  }
}
