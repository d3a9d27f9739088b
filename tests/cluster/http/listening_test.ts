import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { whyNotListening } from "../../../cluster/http/server/why_not_listening.ts";

describe("a port that cannot be had", () => {
  it("is told of with what to do, whether it is taken or not allowed", () => {
    for (const error of [new Deno.errors.AddrInUse("os error 98"), new Deno.errors.PermissionDenied("os error 13")]) {
      assertStringIncludes(whyNotListening(error), "choose another with --port");
    }
    assertEquals(whyNotListening(new Deno.errors.AddrNotAvailable("no such address")), "no such address");
  });
});
