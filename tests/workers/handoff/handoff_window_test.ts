import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { LatentmeshError } from "../../../core/errors.ts";
import { parseMessage, type PeerFrame, type PeerFrameOf, peerFrameSchema } from "../../../core/wire/messages.ts";
import type { Link } from "../../../core/wire/link.ts";
import { SharedMemory, whyNotShared } from "../../../workers/collective/shared_memory.ts";
import { ReceivingWindows, RingPlaces, SendingWindow } from "../../../workers/handoff/handoff_window.ts";
import { linked } from "../../support/links.ts";
import { SEED } from "../../../bench/support/random.ts";

const EPOCH = 3;

const nobody = { heard: () => {} };

/** What the file system says of itself, by another way. */
function statistics(): string {
  const { stdout } = new Deno.Command("stat", { args: ["-f", "-c", '{"blocks":%b,"bavail":%a,"bsize":%S}', "/dev/shm"] }).outputSync();
  return new TextDecoder().decode(stdout);
}

describe("places in a ring", () => {
  it("never overlap until they are given back, and are found wherever enough is free behind the last one", () => {
    const actions = fc.array(fc.option(fc.integer({ min: 1, max: 3000 }), { nil: null }), { maxLength: 200 });
    fc.assert(
      fc.property(fc.integer({ min: 100, max: 5000 }), actions, (bytes, actions) => {
        const ring = new RingPlaces(bytes);
        const taken: ({ begin: number; end: number } | null)[] = [];
        for (const action of actions) {
          if (action === null) {
            if (taken.length === 0) assertThrows(() => ring.giveBack(), LatentmeshError, "nobody has sent");
            else ring.giveBack();
            taken.shift();
            continue;
          }
          const begin = ring.take(action);
          const places = taken.filter((place) => place !== null);
          if (begin === null) {
            assert(action > bytes || places.length > 0, "there is room for what fits an empty ring");
            taken.push(null);
            continue;
          }
          const place = { begin, end: begin + action };
          assert(begin >= 0 && place.end <= bytes && begin % 128 === 0, `${begin} of ${bytes}`);
          for (const other of places) assert(place.end <= other.begin || other.end <= begin, `${begin} to ${place.end} overlaps ${other.begin}`);
          taken.push(place);
        }
      }),
      { seed: SEED },
    );
  });

  it("go round: as many as fit half the ring follow each other for ever", () => {
    const ring = new RingPlaces(1000);
    for (let i = 0; i < 100; i++) {
      assert(ring.take(300) !== null, `${i}`);
      if (i > 0) ring.giveBack();
    }
  });
});

const absent = whyNotShared();
if (absent !== null) it.skip(`memory that latents go through: skipped, ${absent}`);
else {describe("memory that latents go through", () => {
    /** Both ends, and what each has been told. */
    function ends(): {
      readonly near: Link;
      readonly far: Link;
      readonly told: PeerFrame[];
      readonly offered: PeerFrameOf<"segment">[];
      close(): Promise<void>;
    } {
      const [near, far] = linked();
      const told: PeerFrame[] = [];
      const offered: PeerFrameOf<"segment">[] = [];
      near.listen(({ message }) => void told.push(parseMessage(peerFrameSchema, message)));
      far.listen(({ message }) => void offered.push(parseMessage(peerFrameSchema, message) as PeerFrameOf<"segment">));
      const close = async () => {
        near.close();
        await far.closed;
        await near.closed;
      };
      return { near, far, told, offered, close };
    }
    const turn = () => new Promise((resolve) => setTimeout(resolve, 5));
    const latents = (at: number, byteLength: number): PeerFrameOf<"latents"> => ({
      kind: "latents",
      epoch: EPOCH,
      sequence: 1,
      layers: [0, 1],
      range: [0, 1],
      dtype: "f16",
      shape: [1, 1, byteLength / 2],
      at,
      byteLength,
    });
    const none = new Uint8Array();

    it("holds what was put there until it is answered, and nothing before the other side has it", async () => {
      const { near, far, told, offered, close } = ends();
      const sending = SendingWindow.offer(near, EPOCH, 1000, { obstacle: null });
      assertEquals(sending.put(Uint8Array.of(1, 2), nobody), null, "it is not known yet whether the other side can");
      await turn();
      const receiving = new ReceivingWindows();
      receiving.open(offered[0], far);
      await turn();
      assertEquals(told, [{ kind: "mapped", epoch: EPOCH, problem: null }]);
      sending.mapped(null);
      sending.answered();
      const at = sending.put(Uint8Array.of(3, 4, 5, 6), nobody)!;
      const more = sending.put(Uint8Array.of(7, 8), nobody)!;
      assertEquals([...receiving.latentsOf(latents(at, 4), none, far)], [3, 4, 5, 6]);
      assertEquals([...receiving.latentsOf(latents(more, 2), none, far)], [7, 8]);
      assertEquals(sending.put(new Uint8Array(900), nobody), null, "there is no room");
      assertThrows(() => Deno.statSync(offered[0].segment!.path), Deno.errors.NotFound);
      await close();
      await turn();
      assertEquals([sending.shared, sending.put(none, nobody)], [false, null]);
      assertThrows(() => receiving.latentsOf(latents(at, 4), none, far), LatentmeshError, "no 4 bytes");
    });

    it("is not used where the other side cannot have it, and is gone then", async () => {
      const { near, far, told, offered, close } = ends();
      const sending = SendingWindow.offer(near, EPOCH, 1000, { obstacle: null });
      await turn();
      new ReceivingWindows().open(offered[0], far, "not here");
      await turn();
      const [{ problem }] = told as PeerFrameOf<"mapped">[];
      assertEquals(problem, "not here");
      sending.mapped(problem);
      assertEquals([sending.shared, sending.put(Uint8Array.of(1), nobody)], [false, null]);
      assertThrows(() => Deno.statSync(offered[0].segment!.path), Deno.errors.NotFound);
      const without = SendingWindow.offer(near, EPOCH, 1000, { obstacle: "not wanted" });
      await turn();
      assertEquals([offered.length, without.put(Uint8Array.of(1), nobody)], [1, null], "nothing more was offered");
      await close();
    });

    it("has what a prompt has, leaves others most of the memory that there is, and is not made where that is too little", async () => {
      const MIB = 2 ** 20;
      const sizes = async (promptBytes: number, free: number): Promise<number[]> => {
        const { near, offered, close } = ends();
        SendingWindow.offer(near, EPOCH, promptBytes, { obstacle: null, free: () => free });
        await turn();
        await close();
        await turn();
        return offered.map(({ segment }) => Math.floor(segment!.bytes / MIB * 16) / 16);
      };
      assertEquals(await sizes(MIB / 2, 64 * MIB), [0.5]);
      assertEquals(await sizes(500 * MIB, 64 * MIB), [16]);
      assertEquals(await sizes(500 * MIB, Infinity), [64], "a file system without a limit");
      for (const [promptBytes, free] of [[500 * MIB, 16 * MIB], [500 * MIB, 0], [MIB, 0], [0, 64 * MIB]]) {
        assertEquals(await sizes(promptBytes, free), []);
      }
      const { blocks, bavail, bsize } = JSON.parse(statistics());
      const now = SharedMemory.free();
      // Others use it, too.
      assert(blocks === 0 ? now === Infinity : Math.abs(now - bavail * bsize) <= blocks * bsize / 4, `${now} where df says ${bavail * bsize}`);
    });

    it("gives room in the order in which it was waited for, whatever the sizes", async () => {
      const { near, far, offered, close } = ends();
      const sending = SendingWindow.offer(near, EPOCH, 1000, { obstacle: null });
      await turn();
      new ReceivingWindows().open(offered[0], far);
      sending.mapped(null);
      const told: string[] = [];
      const [large, small] = ["large", "small"].map((name) => ({ heard: () => void told.push(name) }));
      for (let i = 0; i < 4; i++) assert(sending.put(new Uint8Array(128), nobody) !== null);
      assertEquals([sending.hasRoom(900, large), sending.hasRoom(100, small)], [false, false], "who comes later does not overtake");
      sending.answered();
      assertEquals([told, sending.hasRoom(900, large), sending.hasRoom(100, small)], [["large", "small"], false, false]);
      for (let i = 0; i < 3; i++) sending.answered();
      assertEquals([sending.hasRoom(900, large), sending.hasRoom(100, small)], [true, false]);
      told.length = 0;
      sending.emptied(large);
      assertEquals([told, sending.hasRoom(100, small)], [[], false], "who has nothing there any more keeps its place");
      sending.leave(large);
      assertEquals([told, sending.hasRoom(100, small)], [["small"], true]);
      sending.leave(small);
      await close();
    });

    it("lets nobody read beside it, have it twice, or name another file", async () => {
      const { near, far, offered, close } = ends();
      SendingWindow.offer(near, EPOCH, 1000, { obstacle: null });
      await turn();
      const receiving = new ReceivingWindows();
      const { segment } = offered[0];
      for (const change of [{ path: "/etc/passwd" }, { bytes: segment!.bytes + 1 }, { key: new Uint8Array(32) }, { bytes: 8 }]) {
        assertThrows(() => receiving.open({ ...offered[0], segment: { ...segment!, ...change } }, far), LatentmeshError);
      }
      assertThrows(() => receiving.open({ ...offered[0], segment: null }, far), LatentmeshError, "no memory");
      receiving.open(offered[0], far);
      assertThrows(() => receiving.open(offered[0], far), LatentmeshError, "twice");
      for (const frame of [latents(0, 2000), latents(999, 2), latents(2 ** 40, 2)]) {
        assertThrows(() => receiving.latentsOf(frame, none, far), LatentmeshError, "There are no");
      }
      assertThrows(() => receiving.latentsOf(latents(0, 2), Uint8Array.of(1, 2), far), LatentmeshError, "There are no");
      await close();
    });
  });}
