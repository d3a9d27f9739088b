import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { endAll } from "../../../cluster/commands/stop.ts";

describe("ending what a command has", () => {
  it("goes on with the others, one after the other, where one cannot be ended", async () => {
    const ended: string[] = [];
    await endAll(
      () => Promise.reject(new Error("the registry is gone")),
      async () => {
        await Promise.resolve();
        ended.push("engine");
      },
      () => {
        throw new Error("out of order");
      },
      () => ended.push("launcher"),
    );
    assertEquals(ended, ["engine", "launcher"]);
  });
});
