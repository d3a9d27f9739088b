import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { cellRecord } from "../../../bench/support/cell_records.ts";
import { FrontCells } from "../../../cluster/front/front_cells.ts";
import { FrontMetrics } from "../../../cluster/front/front_metrics.ts";

describe("metrics of a front", () => {
  it("count cells that have left together, so that there are never more series than cells, and lose no count", async () => {
    const metrics = new FrontMetrics();
    const cells = new FrontCells();
    for (let i = 0; i < 200; i++) {
      cells.update([cellRecord({ id: "stays" }), cellRecord({ id: `cell-${i}` })]);
      metrics.cellFailed("stays", "broken");
      for (const reason of ["broken", "unreachable"]) metrics.cellFailed(`cell-${i}`, reason);
      if (i % 50 === 0) await metrics.expose(cells, 0);
    }
    const { text } = await metrics.expose(cells, 0);
    const series = text.split("\n").filter((line) => line.startsWith("latentmesh_front_cell_failures_total{"));
    assertEquals(series.toSorted(), [
      `latentmesh_front_cell_failures_total{cell="(gone)",reason="broken"} 199`,
      `latentmesh_front_cell_failures_total{cell="(gone)",reason="unreachable"} 199`,
      `latentmesh_front_cell_failures_total{cell="cell-199",reason="broken"} 1`,
      `latentmesh_front_cell_failures_total{cell="cell-199",reason="unreachable"} 1`,
      `latentmesh_front_cell_failures_total{cell="stays",reason="broken"} 200`,
    ]);
    assert(text.split("cell=").length < 15, "other series have the cells that there are only");
  });
});
