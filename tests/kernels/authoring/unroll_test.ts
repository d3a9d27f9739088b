import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import { unroll } from "../../../kernels/authoring/unroll.ts";

describe("unroll", () => {
  it("writes a body out, once for each number, without a scope of its own", () => {
    assertEquals(unroll("@unroll(i, 3) {\n var a_{i} = {i}u;}", {}), "\n var a_0 = 0u;\n var a_1 = 1u;\n var a_2 = 2u;");
  });

  it("takes counts by name, none included, and leaves other braces alone", () => {
    assertEquals(unroll("@unroll(i, N) {if (x) { y({i}); }}fn f() {}", { N: 2 }), "if (x) { y(0); }if (x) { y(1); }fn f() {}");
    assertEquals(unroll("a @unroll(i, N) {b}c", { N: 0 }), "a c");
  });

  it("nests", () => {
    assertEquals(unroll("@unroll(i, 2) {@unroll(j, M) {{i}{j} }}", { M: 2 }), "00 01 10 11 ");
    assertEquals(unroll("@unroll(i, 1) {@unroll(k, 1) {{k}}@unroll(k, 2) {{k}}}", {}), "001");
  });

  it("says what it cannot read", () => {
    assertThrows(() => unroll("@unroll(i, N) {}", {}), TypeError, "N is not known");
    assertThrows(() => unroll("@unroll(i, N) {}", { N: 1.5 }), TypeError, "N is not known");
    assertThrows(() => unroll("@unroll(i, 2) { a", {}), TypeError, "a brace is missing");
    assertThrows(() => unroll("@unroll(i) {}", {}), TypeError, "Cannot read");
  });
});
