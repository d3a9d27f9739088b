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
      const sending = SendingWindow.offer(near, EPOCH, 1000, null);
      assertEquals(sending.put(Uint8Array.of(1, 2)), null, "it is not known yet whether the other side can");
      await turn();
      const receiving = new ReceivingWindows();
      receiving.open(offered[0], far);
      await turn();
      assertEquals(told, [{ kind: "mapped", epoch: EPOCH, problem: null }]);
      sending.mapped(null);
      sending.answered();
      const at = sending.put(Uint8Array.of(3, 4, 5, 6))!;
      const more = sending.put(Uint8Array.of(7, 8))!;
      assertEquals([...receiving.latentsOf(latents(at, 4), none, far)], [3, 4, 5, 6]);
      assertEquals([...receiving.latentsOf(latents(more, 2), none, far)], [7, 8]);
      assertEquals(sending.put(new Uint8Array(900)), null, "there is no room");
      assertThrows(() => Deno.statSync(offered[0].segment!.path), Deno.errors.NotFound);
      await close();
      await turn();
      assertEquals([sending.shared, sending.put(none)], [false, null]);
      assertThrows(() => receiving.latentsOf(latents(at, 4), none, far), LatentmeshError, "no 4 bytes");
    });

    it("is not used where the other side cannot have it, and is gone then", async () => {
      const { near, far, told, offered, close } = ends();
      const sending = SendingWindow.offer(near, EPOCH, 1000, null);
      await turn();
      new ReceivingWindows().open(offered[0], far, "not here");
      await turn();
      const [{ problem }] = told as PeerFrameOf<"mapped">[];
      assertEquals(problem, "not here");
      sending.mapped(problem);
      assertEquals([sending.shared, sending.put(Uint8Array.of(1))], [false, null]);
      assertThrows(() => Deno.statSync(offered[0].segment!.path), Deno.errors.NotFound);
      const without = SendingWindow.offer(near, EPOCH, 1000, "not wanted");
      await turn();
      assertEquals([offered.length, without.put(Uint8Array.of(1))], [1, null], "nothing more was offered");
      await close();
    });

    it("has what a prompt has, and leaves others most of the memory that there is", async () => {
      const { near, offered, close } = ends();
      SendingWindow.offer(near, EPOCH, 5000, null);
      const free = SharedMemory.free();
      SendingWindow.offer(near, EPOCH, Number.MAX_SAFE_INTEGER, null);
      await turn();
      const [small, large] = offered.map(({ segment }) => segment!.bytes);
      assert(small >= 5000 && small < 6000, `${small}`);
      assert(large <= free / 4 + 6000 && large <= (64 << 20) + 6000, `${large} of ${free}`);
      assert(large > small, "there is some");
      await close();
      await turn();
    });

    it("lets nobody read beside it, have it twice, or name another file", async () => {
      const { near, far, offered, close } = ends();
      SendingWindow.offer(near, EPOCH, 1000, null);
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
