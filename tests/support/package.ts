/**
 * The JSR package: it must be publishable, small, and free of tests and goldens.
 *
 * @module
 */
import { ROOT } from "../../bench/support/root.ts";

const MAX_BYTES = 20 * 2 ** 20;

/** Throws unless a dry run of publishing succeeds and lists only what belongs in the package. */
export async function checkPackage(): Promise<void> {
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["publish", "--dry-run", "--allow-dirty"],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).output();
  const text = new TextDecoder().decode(output.stdout) + new TextDecoder().decode(output.stderr);
  if (!output.success) throw new Error(`deno publish --dry-run failed\n${text}`);
  const files = [...text.matchAll(/file:\/\/(\S+) \([\d.]+ ?[KMG]?i?B\)/g)].map((match) => decodeURIComponent(match[1]));
  if (files.length === 0) throw new Error(`deno publish --dry-run listed no files\n${text}`);
  // Of the benches only the figures that documents show.
  const stray = files.filter((file) => /\/(tests|bench(?!\/report\/figures)|\.ci)\//.test(file.slice(ROOT.length)));
  if (stray.length > 0) throw new Error(`these do not belong in the package: ${stray.join(", ")}`);
  const sizes = await Promise.all(files.map(async (file) => (await Deno.stat(file)).size));
  const total = sizes.reduce((a, b) => a + b, 0);
  if (total > MAX_BYTES) throw new Error(`the package has ${total} bytes, more than ${MAX_BYTES}`);
  console.error(`    ${files.length} files, ${(total / 2 ** 20).toFixed(1)} MiB`);
}

/** Throws if the lock file of those who serve names a package that only tests use: they would download it. */
export async function checkLock(): Promise<void> {
  const [config, lock] = await Promise.all(["deno.json", "deno.lock"].map(async (name) => JSON.parse(await Deno.readTextFile(`${ROOT}/${name}`))));
  const imports = new Set(Object.values(config.imports));
  const stray = Object.keys(lock.specifiers).filter((specifier) => !imports.has(specifier));
  if (stray.length > 0) throw new Error(`deno.lock names ${stray.join(", ")}; give deno --lock=tests/deno.lock when you check or run tests`);
}
