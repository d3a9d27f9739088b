import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import type { Message } from "../../../cluster/api/conversation_schema.ts";
import { HttpError } from "../../../cluster/api/errors.ts";
import type { ResponsesRequest } from "../../../cluster/api/responses_schema.ts";
import { conversationOf } from "../../../cluster/text/response_fields.ts";
import { joinTurns } from "../../../cluster/text/turns.ts";

const call = (id: string) => ({ id, type: "function" as const, function: { name: "f", arguments: "{}" } });

describe("turns that come in parts", () => {
  it("are joined where one and the same speaks, but for results of tools", () => {
    const messages = [
      { role: "system", content: "a" },
      { role: "system", content: "b" },
      { role: "user", content: "" },
      { role: "user", content: "c" },
      { role: "assistant", reasoning_content: "r" },
      { role: "assistant", reasoning_content: "s", content: "d" },
      { role: "assistant", tool_calls: [call("1")] },
      { role: "assistant", tool_calls: [call("2")] },
      { role: "tool", content: "x", tool_call_id: "1" },
      { role: "tool", content: "y", tool_call_id: "2" },
      { role: "user", content: "e" },
    ] as Message[];
    assertEquals(joinTurns(messages, "|") as unknown[], [
      { role: "system", content: "a|b" },
      { role: "user", content: "c" },
      { role: "assistant", content: "d", reasoning_content: "r|s", tool_calls: [call("1"), call("2")] },
      ...messages.slice(8),
    ]);
  });

  it("are copied once, however many there are", () => {
    const message = { role: "user", content: "x".repeat(8000) } as Message;
    // Joined one after the other, these would be 130 GB.
    const [turn] = joinTurns(new Array<Message>(4096).fill(message), "");
    assertEquals((turn.content as string).length, 4096 * 8000);
  });

  it("are refused where a request refers to more than any context holds", () => {
    const kept = { a: JSON.stringify({ type: "message", role: "user", content: "x".repeat(8000) }) };
    const request = (count: number) => ({ input: new Array(count).fill({ type: "item_reference", id: "a" }) }) as ResponsesRequest;
    assertEquals(conversationOf(request(3), kept).fields.messages.length, 1);
    const error = assertThrows(() => conversationOf(request(4096), kept), HttpError, "refers to");
    assertEquals([error.status, error.body.error.param], [400, "input"]);
  });
});
