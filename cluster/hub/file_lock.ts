/**
 * Locks that processes share, Python's among them: whoever fetches a blob holds its lock (flock) meanwhile.
 *
 * @module
 */

/** As Python's library makes them: who shares a cache may wait for each other. */
const MODE = 0o664;

/**
 * Takes a lock, if nobody has it. Where a file system has none, everybody gets it: what is fetched is checked as it lies on the disk, so that nothing but time depends
 * on it.
 *
 * @returns gives it back when disposed of; null if somebody else has it
 */
export async function tryLock(path: string): Promise<Disposable | null> {
  for (;;) {
    const file = await Deno.open(path, { read: true, write: true, create: true, mode: MODE });
    try {
      if (!await locks(file)) {
        file.close();
        return null;
      }
      // Whoever had it may have removed the file: then this one is nobody's.
      if (await isAt(path, file)) return { [Symbol.dispose]: () => unlock(file) };
      unlock(file);
      continue;
    } catch (error) {
      file.close();
      throw error;
    }
  }
}

/** A process that is being started has all that this one has open, for a moment: closing the file alone would leave the lock to it. */
function unlock(file: Deno.FsFile): void {
  try {
    file.unlockSync();
  } catch {
    // The file system has none.
  }
  file.close();
}

async function locks(file: Deno.FsFile): Promise<boolean> {
  try {
    return await file.tryLock(true);
  } catch {
    return true;
  }
}

async function isAt(path: string, file: Deno.FsFile): Promise<boolean> {
  try {
    return (await Deno.stat(path)).ino === (await file.stat()).ino;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
