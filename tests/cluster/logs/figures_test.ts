import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { formatFigure } from "../../../cluster/logs/figures.ts";

describe("a figure", () => {
  it("has its decimals, or two digits where those say nothing", () => {
    assertEquals([12.345, 0.1, 0.0994, 0.0123, 0.00001234, 0, 3e9].map((value) => formatFigure(value, 2)), [
      "12.35",
      "0.10",
      "0.099",
      "0.012",
      "0.000012",
      "0.00",
      "3000000000.00",
    ]);
    assertEquals([1234.5, 9.96, 9.94, 0.04].map((value) => formatFigure(value, 0)), ["1235", "10", "9.9", "0.04"]);
  });
});
