import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { deltasOf } from "../../../cluster/http/openai/chat_message.ts";
import type { AnswerPart } from "../../../core/text/answers/answer_parser.ts";
import { SEED } from "../../../bench/support/random.ts";

interface Delta {
  readonly content?: string;
  readonly reasoning_content?: string;
  readonly tool_calls?: readonly { index: number; id?: string; function: { name?: string; arguments: string } }[];
}

describe("deltas of chat completions", () => {
  it("hold what came, in order, and of one call at most each", () => {
    const text = fc.constantFrom("a", "b");
    const part = fc.oneof(
      fc.record({ kind: fc.constant("content" as const), text }),
      fc.record({ kind: fc.constant("reasoning" as const), text }),
      fc.record({ kind: fc.constant("call" as const), name: text }),
      fc.record({ kind: fc.constant("arguments" as const), text }),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), (made) => {
        let calls = 0;
        const parts = made.flatMap((part): AnswerPart[] => {
          if (part.kind === "call") return [{ ...part, index: calls++ }];
          if (part.kind === "arguments") return calls === 0 ? [] : [{ ...part, index: calls - 1 }];
          return [part];
        });
        const deltas = deltasOf(parts) as Delta[];
        const of = (kind: "content" | "reasoning") => parts.map((part) => part.kind === kind ? part.text : "").join("");
        assertEquals(deltas.map(({ content = "" }) => content).join(""), of("content"));
        assertEquals(deltas.map(({ reasoning_content = "" }) => reasoning_content).join(""), of("reasoning"));
        assert(deltas.length >= 1 && deltas.every(({ tool_calls }) => tool_calls === undefined || tool_calls.length === 1));
        const all = deltas.flatMap(({ tool_calls = [] }) => tool_calls);
        for (let call = 0; call < calls; call++) {
          const mine = all.filter(({ index }) => index === call);
          assertEquals(mine.map(({ id }) => id !== undefined), mine.map((_, i) => i === 0));
          const text = parts.map((part) => part.kind === "arguments" && part.index === call ? part.text : "").join("");
          assertEquals(mine.map(({ function: { arguments: text } }) => text).join(""), text);
        }
      }),
      { seed: SEED },
    );
  });
});
