import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { sharedOut, threadAdvice } from "../../../cluster/fleet/share_cores.ts";

describe("workers of one host", () => {
  it("have the processors shared out among them, where nobody says how many threads they have", () => {
    assertEquals([1, 3, 8, 9].map((workers) => sharedOut({}, workers, 8).threads), [8, 2, 1, 1]);
    assertEquals(sharedOut({ threads: 5 }, 3, 8).threads, 5);
  });

  it("are told of where threads that were asked for take turns", () => {
    const told = (threads: number | undefined, workers: number, cores: number) => threadAdvice(threads, workers, cores)?.split(",")[0];
    assertEquals([told(undefined, 3, 2), told(1, 3, 2), told(4, 2, 8), told(8, 1, 8), told(8, 0, 2)], Array(5).fill(undefined));
    assertEquals(told(200, 1, 2), "200 threads take turns on 2 processors");
    assertEquals(told(2, 2, 1), "2 workers with 2 threads each take turns on 1 processor");
  });
});
