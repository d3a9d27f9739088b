import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { ModelTexts } from "../../../cluster/models/model_texts.ts";
import { LatentmeshError } from "../../../core/errors.ts";

describe("texts of models that are not loaded", () => {
  it("are opened once for all who ask, closed when nobody has for a while, and tried again when they could not be opened", async () => {
    const happened: string[] = [];
    let broken = true;
    const closed = Promise.withResolvers<void>();
    const texts = new ModelTexts({
      idle: 0,
      open: async (name) => {
        happened.push(`open ${name}`);
        await Promise.resolve();
        if (broken) throw new LatentmeshError("not_found", "no tokenizer");
        return {
          fetch: () => new Response(name),
          close: () => {
            happened.push(`close ${name}`);
            closed.resolve();
            return Promise.reject(new Error("out of order"));
          },
        };
      },
    });
    await assertRejects(() => texts.use("a"), LatentmeshError, "no tokenizer");
    broken = false;
    const both = await Promise.all([texts.use("a"), texts.use("a")]);
    both[0].release();
    both[0].release();
    assertEquals(await (await both[1].fetch(new Request("http://localhost"))).text(), "a");
    assertEquals(happened, ["open a", "open a"]);
    both[1].release();
    await closed.promise;
    await texts.use("b");
    await assertRejects(() => texts.use("b", AbortSignal.abort()), LatentmeshError, "cancelled");
    await texts.close();
    assertEquals(happened, ["open a", "open a", "close a", "open b", "close b"]);
    await assertRejects(() => texts.use("a"), LatentmeshError, "stopping");
  });
});
