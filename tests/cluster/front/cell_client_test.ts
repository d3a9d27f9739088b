import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { cellRecord } from "../../../bench/support/cell_records.ts";
import { CellClient } from "../../../cluster/front/cell_client.ts";

describe("whether a cell says anything", () => {
  it("is true of one that takes no connections, as one that ends, and false of a host that cannot be reached", async () => {
    using client = new CellClient({ key: undefined });
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    listener.close();
    const answers = (url: string) => client.answers(cellRecord({ url }), AbortSignal.timeout(60_000));
    assertEquals(await answers(`http://127.0.0.1:${port}`), true);
    // No network leads to everybody.
    assertEquals(await answers(`http://255.255.255.255:${port}`), false);
  });
});
