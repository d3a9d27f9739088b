import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { BlockAllocator } from "../../../core/cache/blocks.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { SEED } from "../../../bench/support/random.ts";

describe("BlockAllocator", () => {
  it("loses nothing and shares nothing by accident, whatever happens", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.array(fc.tuple(fc.constantFrom("allocate", "take", "share", "release"), fc.nat(100))),
        (blocks, actions) => {
          const allocator = new BlockAllocator(blocks);
          const held: number[] = [];
          for (const [action, pick] of actions) {
            const block = held[pick % held.length];
            if (action === "allocate" && allocator.canAllocate(1)) {
              const fresh = allocator.allocate();
              assertEquals(held.includes(fresh), false);
              held.push(fresh);
            } else if (action === "take") {
              const wanted = pick % blocks;
              if (held.includes(wanted)) assertThrows(() => allocator.take(wanted), LatentmeshError, "not free");
              else {
                allocator.take(wanted);
                held.push(wanted);
              }
            } else if (action === "share" && held.length > 0) {
              allocator.share(block);
              held.push(block);
            } else if (action === "release" && held.length > 0) {
              allocator.release(block);
              held.splice(held.indexOf(block), 1);
            }
            allocator.checkIntegrity();
            assertEquals(allocator.free, blocks - new Set(held).size);
          }
        },
      ),
      { seed: SEED },
    );
  });

  it("refuses to allocate when full, and to release or share what is free", () => {
    const allocator = new BlockAllocator(1);
    const block = allocator.allocate();
    assertThrows(() => allocator.take(1), LatentmeshError, "block 1 of 1 is not free");
    assertThrows(() => allocator.allocate(), LatentmeshError, "All 1 cache blocks are in use");
    allocator.release(block);
    assertThrows(() => allocator.release(block), LatentmeshError, "released twice");
    assertThrows(() => allocator.share(block), LatentmeshError, "shared but free");
  });
});
