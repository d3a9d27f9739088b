/**
 * Directories that only this user may enter: processes of one cluster meet there. One whose owner was killed is removed by whoever makes the next: its lock is free.
 *
 * @module
 */
import { guardDirectory, guardianSettled } from "./guardian.ts";

const PREFIX = "latentmesh-";
const LOCK = "owner.lock";

/** A directory of this process. */
export class PrivateDirectory {
  readonly path: string;
  readonly #lock: Deno.FsFile;
  readonly #release: () => void;

  private constructor(path: string, lock: Deno.FsFile) {
    this.path = path;
    this.#lock = lock;
    this.#release = guardDirectory(path);
  }

  /** Makes one, and removes those that were left behind. @param parent where; by default where temporary files are */
  static async create(parent?: string): Promise<PrivateDirectory> {
    const path = await Deno.makeTempDir({ prefix: PREFIX, dir: parent });
    try {
      await Deno.chmod(path, 0o700);
      const lock = await Deno.open(`${path}/${LOCK}`, { write: true, createNew: true, mode: 0o600 });
      await lock.lock(true);
      await removeOrphans(path);
      return new PrivateDirectory(path, lock);
    } catch (error) {
      await Deno.remove(path, { recursive: true }).catch(() => {});
      throw error;
    }
  }

  /** Removes it. */
  async close(): Promise<void> {
    await Deno.remove(this.path, { recursive: true }).catch(() => {});
    this.#lock.close();
    this.#release();
    await guardianSettled();
  }
}

/** Removes directories beside this one that nobody holds any more. */
async function removeOrphans(own: string): Promise<void> {
  const parent = own.slice(0, own.lastIndexOf("/"));
  try {
    for await (const { name, isDirectory } of Deno.readDir(parent)) {
      const path = `${parent}/${name}`;
      if (isDirectory && name.startsWith(PREFIX) && path !== own) await removeOrphan(path).catch(() => {});
    }
  } catch {
    // A directory that cannot be listed is not ours to tidy.
  }
}

async function removeOrphan(path: string): Promise<void> {
  // Tidying up after others is not worth a question to whoever runs this as a library.
  if ((await Deno.permissions.query({ name: "sys", kind: "uid" })).state !== "granted") return;
  const { isDirectory, uid, mode } = await Deno.lstat(path);
  // Anybody can make something of that name in a directory for all.
  if (!isDirectory || uid !== Deno.uid() || (mode! & 0o777) !== 0o700) return;
  using lock = await Deno.open(`${path}/${LOCK}`, { write: true });
  if (await lock.tryLock(true)) await Deno.remove(path, { recursive: true });
}
