import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { tryLock } from "../../../cluster/hub/file_lock.ts";

describe("locks of files", () => {
  it("are nobody's once given back, though a process is started meanwhile, which has what is open until it runs", async () => {
    const path = await Deno.makeTempFile();
    let ended = false;
    const start = async () => {
      while (!ended) assert((await new Deno.Command("true").output()).success);
    };
    const starting = [start(), start()];
    let refused = 0;
    for (let i = 0; i < 200; i++) {
      const lock = await tryLock(path);
      if (lock === null) refused++;
      lock?.[Symbol.dispose]();
    }
    ended = true;
    await Promise.all(starting);
    assertEquals(refused, 0);
    await Deno.remove(path);
  });

  it("are one's alone, and made anew where whoever had one has removed its file", async () => {
    const directory = await Deno.makeTempDir();
    const path = `${directory}/lock`;
    const lock = (await tryLock(path))!;
    assertEquals(await tryLock(path), null);
    await Deno.remove(path);
    const next = (await tryLock(path))!;
    assertEquals(await tryLock(path), null);
    lock[Symbol.dispose]();
    assertEquals(await tryLock(path), null);
    next[Symbol.dispose]();
    await Deno.remove(directory, { recursive: true });
  });
});
