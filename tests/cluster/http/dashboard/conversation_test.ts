import fc from "npm:fast-check@4.10.2";
import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { Conversation } from "../../../../cluster/http/dashboard/conversation.js";
import { speedOf } from "../../../../cluster/http/dashboard/answer.js";
import { snippets } from "../../../../cluster/http/dashboard/connect.js";

describe("the page's conversation", () => {
  it("sends questions with answers, the question last, whatever failed, was cleared or asked again before", () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("ask" as const), answer: fc.constantFrom("", "yes", "no") }),
      fc.record({ kind: fc.constant("again" as const), answer: fc.constantFrom("", "yes", "no") }),
      fc.record({ kind: fc.constant("clear during an answer" as const), answer: fc.constant("too late") }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), fc.constantFrom("", "Be brief."), (steps, system) => {
        const said = new Conversation();
        let expected: [string, string][] = [];
        steps.forEach(({ kind, answer }, i) => {
          const turn = kind === "again" ? said.again() : said.ask(`question ${i}`);
          if (kind === "clear during an answer") {
            said.clear();
            expected = [];
          } else if (turn !== null) {
            if (kind === "again") expected = expected.filter(([question]) => question !== turn.question);
            if (answer !== "") expected.push([turn.question, answer]);
          }
          if (turn !== null) said.answered(turn, answer);
        });
        assertEquals(said.messagesFor(said.ask("last"), system), [
          ...system === "" ? [] : [{ role: "system", content: system }],
          ...expected.flatMap(([question, answer]) => [{ role: "user", content: question }, { role: "assistant", content: answer }]),
          { role: "user", content: "last" },
        ]);
      }),
      { seed: 42, numRuns: 200 },
    );
  });

  it("says how fast an answer was, as far as it is known", () => {
    assertEquals(speedOf({ first: null, rest: 0, tokens: null }), "");
    assertEquals(speedOf({ first: 80, rest: 0, tokens: null }), "first token after 80 ms");
    assertEquals(speedOf({ first: 1234, rest: 0, tokens: 1 }), "1 token · first token after 1.2 s");
    assertEquals(speedOf({ first: 80, rest: 5, tokens: 6 }), "6 tokens · first token after 80 ms");
    assertEquals(speedOf({ first: 80, rest: 500, tokens: 11 }), "11 tokens · first token after 80 ms · 20.0 tokens/s");
  });

  it("writes snippets that hold any model's name", () => {
    const model = `it's "x" \\ y`;
    const { curl, Python, JavaScript } = snippets({ base: "http://h/v1", model, keyed: true });
    const body = /-d '(.*)'$/s.exec(curl)![1].replaceAll("'\\''", "'");
    assertEquals(JSON.parse(body).model, model);
    for (const text of [Python, JavaScript]) assertEquals(JSON.parse(/model[=:] ?(".*"),/.exec(text)![1]), model);
    for (const text of [curl, Python, JavaScript]) assertEquals(text.includes("YOUR KEY"), true);
  });
});
