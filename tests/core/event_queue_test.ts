import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../core/errors.ts";
import { EventQueue } from "../../core/event_queue.ts";

const never = new AbortController().signal;

describe("EventQueue", () => {
  it("hands everything out in order, then the failure", async () => {
    const queue = new EventQueue<number>(never, async (_, emit) => {
      emit(1);
      await Promise.resolve();
      emit(2);
      throw new Error("out of luck");
    });
    const seen: number[] = [];
    await assertRejects(
      async () => {
        for await (const event of queue) seen.push(event);
      },
      Error,
      "out of luck",
    );
    assertEquals(seen, [1, 2]);
  });

  it("ends the task of a reader that leaves, or that reads too slowly", async () => {
    let ended = 0;
    const endless = (most?: number) =>
      new EventQueue<number>(never, async (signal, emit) => {
        for (let i = 0; !signal.aborted; i++) {
          emit(i);
          await Promise.resolve();
        }
        ended++;
      }, most);
    for await (const _ of endless()) break;
    assertEquals(ended, 1);
    const slow = async () => {
      for await (const _ of endless(10)) await new Promise((resolve) => setTimeout(resolve, 1));
    };
    assertEquals((await assertRejects(slow, LatentmeshError, "reads too slowly: 11 events")).code, "capacity");
    assertEquals(ended, 2);
  });
});
