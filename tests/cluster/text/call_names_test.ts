import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { nameCalls } from "../../../cluster/text/call_names.ts";
import type { Message } from "../../../cluster/api/conversation_schema.ts";
import { KIMI_TOOLS } from "../../../core/text/answers/formats/kimi.ts";
import { MISTRAL_TOOLS } from "../../../core/text/answers/formats/mistral.ts";
import { PLAIN_TOOLS } from "../../../core/text/answers/formats/plain.ts";

const call = (id: string, name: string) => ({ id, type: "function" as const, function: { name, arguments: "{}" } });
const conversation: Message[] = [
  { role: "assistant", tool_calls: [call("call_1", "boil"), call("call_bbbbbbbbb", "fry")] },
  { role: "tool", content: "a", tool_call_id: "call_bbbbbbbbb" },
  { role: "tool", content: "b", tool_call_id: "call_1" },
  { role: "assistant", tool_calls: [call("other_bbbbbbbbb", "boil")] },
  { role: "tool", content: "c", tool_call_id: "other_bbbbbbbbb" },
];
const names = (messages: readonly Message[]) => messages.flatMap(({ tool_calls, tool_call_id }) => tool_calls?.map(({ id }) => id) ?? [tool_call_id]);

describe("names of calls", () => {
  it("are those that the family's template wants, results with them", () => {
    assertEquals(names(nameCalls(KIMI_TOOLS, conversation)), [
      "functions.boil:0",
      "functions.fry:1",
      "functions.fry:1",
      "functions.boil:0",
      "functions.boil:2",
      "functions.boil:2",
    ]);
    const mistral = names(nameCalls(MISTRAL_TOOLS, conversation));
    assert(mistral.every((name) => /^[a-zA-Z0-9]{9}$/.test(name!)), mistral.join());
    assertEquals([mistral[2], mistral[3], mistral[5]], [mistral[1], mistral[0], mistral[4]]);
    assertEquals(new Set(mistral).size, 3);
    assertEquals(nameCalls(PLAIN_TOOLS, conversation), conversation);
  });
});
