import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import { fill, sectionsOf } from "../../../kernels/authoring/sections.ts";

describe("sections of a shader", () => {
  const sections = sectionsOf("// About them.\n@section(a)\nlet a = $1;\n  @fill(b)\n@section(b)\nlet b;\n");

  it("begin after a line with their name and end before the next", () => {
    assertEquals(sections, { a: "let a = $1;\n  @fill(b)\n", b: "let b;\n" });
    assertEquals(sectionsOf("// Nothing.\n"), {});
  });

  it("fill gaps, also their own, as they are", () => {
    assertEquals(fill("x;\n  @fill(a)\ny;\n@fill(b)\n", sections), "x;\nlet a = $1;\nlet b;\ny;\nlet b;\n");
    assertEquals(fill("no gap @fill(a) here\n", sections), "no gap @fill(a) here\n");
  });

  it("are missed where there are none", () => {
    assertThrows(() => fill("@fill(c)\n", sections), TypeError, "Nothing fills c");
  });
});
