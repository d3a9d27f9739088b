/**
 * Dawn for those who ask for it by `--device dawn` and have not said where it is: fetched once, into a folder of its own, and never into anybody's lock file.
 *
 * @module
 */
import { DAWN_PACKAGE, INSTALL_DAWN } from "../../core/dawn_package.ts";
import type { DeviceChoice } from "../../core/device_kind.ts";
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { log } from "../logs/log.ts";
import { cacheHome } from "../processes/cache_home.ts";

/** What of settings decides. */
interface DawnChoice {
  readonly device: DeviceChoice;
  readonly dawn: string | undefined;
}

/** What tests do instead. */
export interface FetchDawnOptions {
  /** Where what was fetched is kept. */
  readonly home?: string;
  /** Puts the package into `node_modules` of a folder. */
  readonly install?: (folder: string) => Promise<void>;
  /** Whether this process may write there. */
  readonly mayWrite?: (home: string) => Promise<boolean>;
}

/** The same settings, knowing where Dawn is if they ask for it. @throws {LatentmeshError} `device_unavailable` if it cannot be fetched */
export async function withDawn<S extends DawnChoice>(
  settings: S,
  { home = cacheHome(), install = installPackage, mayWrite = isGranted }: FetchDawnOptions = {},
): Promise<S> {
  if (settings.device !== "dawn" || settings.dawn !== undefined) return settings;
  const folder = `${home}/${DAWN_PACKAGE.replace("@", "-")}`;
  const dawn = `${folder}/node_modules/webgpu/index.js`;
  if (await isThere(dawn)) return { ...settings, dawn };
  if (!(await mayWrite(home))) {
    const ways = `deno task serve --device dawn does so once; or by hand: ${INSTALL_DAWN}`;
    throw new LatentmeshError("device_unavailable", `Dawn is not there yet, and this command may not write, to fetch it: ${ways}`);
  }
  log("info", `fetching Dawn (npm's ${DAWN_PACKAGE}, 132 MB) to ${folder}; this is done once, and LATENTMESH_DAWN names one that is there already`);
  const part = `${folder}.${Deno.pid}`;
  try {
    await Deno.mkdir(part, { recursive: true });
    await install(part);
    // Another process may have been faster.
    await Deno.rename(part, folder).catch(async (error) => {
      if (!(await isThere(dawn))) throw error;
    });
    if (!(await isThere(dawn))) throw new Error("the package has no index.js");
  } catch (cause) {
    throw new LatentmeshError("device_unavailable", `Cannot fetch Dawn: ${messageOf(cause)}. Install it by hand: ${INSTALL_DAWN}`, { cause });
  } finally {
    await Deno.remove(part, { recursive: true }).catch(() => {});
  }
  return { ...settings, dawn };
}

async function installPackage(folder: string): Promise<void> {
  // Its own configuration ends the search for one above it, whose lock file it would change.
  await Deno.writeTextFile(`${folder}/deno.json`, "{}");
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["install", "--quiet", "--no-lock", "--node-modules-dir=auto", `npm:${DAWN_PACKAGE}`],
    cwd: folder,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr).trim());
}

async function isGranted(home: string): Promise<boolean> {
  return (await Deno.permissions.query({ name: "write", path: home })).state === "granted";
}

async function isThere(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
