import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { requestedModel } from "../../../cluster/http/requested_model.ts";

const found = (body: string) => requestedModel(new TextEncoder().encode(body));

describe("the model that a request is for", () => {
  it("is what a parser finds under its name in the outer object", () => {
    const cases: [string, string | undefined][] = [
      [`{"model":"a","messages":[]}`, "a"],
      [`{"messages":[{"model":"b","content":"\\"model\\":\\"c\\""}], "model" : "a"}`, "a"],
      [`{"m\\u006fdel":"\\u0061\\""}`, `a"`],
      [`{"model":"a","model":"b"}`, "b"],
      [`{"model":"a","model":null}`, undefined],
      [`{"model":"a","model":["b"]}`, undefined],
      [`{"model":7}`, undefined],
      [`{"x":"model","y":"a"}`, undefined],
      [`["model","a"]`, undefined],
      [`{"model":"a`, undefined],
      [`{"model`, undefined],
      [`"model"`, undefined],
      [``, undefined],
      [`}{"model":"a"}`, undefined],
      // Longer than any name: not for the first model, nor repeated whole.
      [`{"model":"${"a".repeat(2000)}","x":1}`, `${"a".repeat(300)}…`],
    ];
    for (const [body, model] of cases) assertEquals(found(body), model, body);
  });

  it("is that in any JSON, however it is written, and in no text it fails on", () => {
    const key = fc.constantFrom("model", "messages", "mod", `"model"`, "\\");
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof({ maxDepth: 3 }, fc.string(), fc.integer(), fc.constant(null), fc.array(tie("tree"), { maxLength: 3 }), tie("object")),
      object: fc.dictionary(key, tie("tree"), { maxKeys: 4 }),
    }));
    fc.assert(
      fc.property(fc.dictionary(key, tree, { maxKeys: 5 }), fc.constantFrom(0, 1, "\t"), (body, space) => {
        const expected = typeof body.model === "string" ? body.model : undefined;
        assertEquals(found(JSON.stringify(body, null, space)), expected);
      }),
      { seed: 1 },
    );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void requestedModel(new Uint8Array(bytes))), { seed: 2 });
  });
});
