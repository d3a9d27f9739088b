import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { Matrix } from "ml-matrix";
import { addSandwich, MomentSum } from "../../../core/tpla/moments.ts";
import { relativeError } from "../../support/compare.ts";
import { Random } from "../../../bench/support/random.ts";

describe("moments", () => {
  it("sums weighted outer products", () => {
    const moments = new MomentSum(2);
    moments.add(Float32Array.of(1, 2, 99), 1);
    moments.add(Float32Array.of(3, -1), 0.5);
    assertEquals([...moments.sum()], [5.5, 0.5, 0.5, 4.5]);
    assertEquals([...moments.mean()], [2.75, 0.25, 0.25, 2.25]);
  });

  it("addSandwich adds Wᵀ S W", () => {
    const random = new Random();
    const [rows, columns] = [5, 7];
    const W = random.normals(rows * columns);
    const factor = Matrix.from1DArray(rows, rows, random.normals(rows * rows));
    const S = factor.mmul(factor.transpose());
    const into = Float64Array.from({ length: columns ** 2 }, () => 1);
    addSandwich(into, W, Float64Array.from(S.to1DArray()), rows, columns);
    const w = Matrix.from1DArray(rows, columns, W);
    const expected = Matrix.add(w.transpose().mmul(S).mmul(w), Matrix.ones(columns, columns));
    assert(relativeError(into, expected.to1DArray()) < 1e-12, "Wᵀ S W");
  });
});
