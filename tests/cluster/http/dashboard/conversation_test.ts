/**
 * What the page keeps of what was said, and what of it models are sent.
 */
import fc from "npm:fast-check@4.10.2";
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import {
  before,
  counts,
  messagesFor,
  newConversation,
  pathOf,
  read,
  say,
  titleOf,
  toMarkdown,
  write,
} from "../../../../cluster/http/dashboard/chat/conversation.js";
import { SEED } from "../../../../bench/support/random.ts";

const KINDS = ["whole", "length", "stopped", "broken", "error"] as const;
const end = (kind: typeof KINDS[number], message = "") => ({ kind, message, first: 5, rest: 10, tokens: 3, thought: null });

/** What users do: ask, answer again, edit, look at another version. */
const step = fc.record({
  kind: fc.constantFrom("ask", "again", "edit", "turn"),
  at: fc.nat(20),
  answer: fc.constantFrom("", "yes", "no"),
  end: fc.constantFrom(...KINDS, null),
});

/** A conversation in which all that has been done. */
function done(steps: readonly (typeof step extends fc.Arbitrary<infer T> ? T : never)[]) {
  const conversation = newConversation(1);
  steps.forEach(({ kind, at, answer, end: how }, i) => {
    const path = pathOf(conversation);
    const questions = path.filter(({ role }) => role === "user");
    const chosen = questions[at % Math.max(1, questions.length)];
    if (kind === "turn") {
      const one = path[at % Math.max(1, path.length)];
      if (one !== undefined) before(conversation, one)!.chosen = at % before(conversation, one)!.next.length;
      return;
    }
    const question = kind === "ask" || chosen === undefined
      ? say(path.at(-1) ?? conversation.start, "user", `question ${i}`)
      : kind === "edit"
      ? say(before(conversation, chosen)!, "user", `edited ${i}`)
      : chosen;
    const said = say(question, "assistant", answer);
    said.end = how === null ? null : end(how, "it failed");
  });
  return conversation;
}

describe("the page's conversation", () => {
  it("sends what is shown, the question last, without questions whose answers failed", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 15 }), fc.constantFrom("", "Be brief."), (steps, system) => {
        const conversation = done(steps);
        const path = pathOf(conversation);
        assert(path.every(({ role }, i) => role === (i % 2 === 0 ? "user" : "assistant")));
        const expected: { role: string; content: string }[] = system === "" ? [] : [{ role: "system", content: system }];
        for (let i = 0; i + 1 < path.length; i += 2) {
          const question = { role: "user", content: path[i].text };
          assertEquals(messagesFor(conversation, path[i], system), [...expected, question]);
          const { text, end: how } = path[i + 1];
          if (text !== "" && how?.kind !== "error") expected.push(question, { role: "assistant", content: text });
        }
        const last = say(path.at(-1) ?? conversation.start, "user", "last");
        assertEquals(messagesFor(conversation, last, system), [...expected, { role: "user", content: "last" }]);
      }),
      { seed: SEED, numRuns: 200 },
    );
  });

  it("survives being written down, however long it is, and nothing else is taken for one", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 15 }), (steps) => {
        const conversation = done(steps);
        assertEquals(read(JSON.parse(JSON.stringify(write(conversation)))), conversation);
      }),
      { seed: SEED, numRuns: 100 },
    );
    const long = newConversation(1);
    for (let i = 0, at = long.start; i < 20_000; i++) at = say(at, i % 2 === 0 ? "user" : "assistant", "x");
    assertEquals(pathOf(read(JSON.parse(JSON.stringify(write(long))))!).length, 20_000);
    const entry = { role: "start", to: -1, text: "", reasoning: "", end: null, chosen: 0 };
    for (
      const wrong of [
        null,
        7,
        {},
        { id: "a", at: 1, said: [] },
        { id: "a", at: 1, said: [null] },
        { id: "a", at: 1, said: [{ ...entry, role: "user" }] },
        { id: "a", at: 1, said: [entry, entry] },
        { id: "a", at: 1, said: [entry, { ...entry, role: "assistant", to: 0 }] },
        { id: "a", at: 1, said: [entry, { ...entry, role: "user", to: 7 }] },
        { id: "a", at: "now", said: [entry] },
      ]
    ) assertEquals(read(wrong), null, JSON.stringify(wrong));
    assertEquals(read({ id: "a", at: 1, said: [{ ...entry, chosen: 1e9, end: { kind: "whatever" } }] })!.start, { ...newConversation(1).start });
    fc.assert(fc.property(fc.anything(), (value) => void read(value)), { seed: SEED, numRuns: 200 });
  });

  it("is called after its first question, and can be read as Markdown", () => {
    const conversation = newConversation();
    assertEquals(titleOf(conversation), "New chat");
    const question = say(conversation.start, "user", `${"long ".repeat(20)}\nsecond line`);
    say(question, "assistant", "An *answer*.");
    assertEquals(titleOf(conversation).length, 60);
    assert(/^# long .*…\n\n## You\n\nlong .*\n## Model\n\nAn \*answer\*\.\n$/s.test(toMarkdown(conversation)), toMarkdown(conversation));
    assertEquals([counts(pathOf(conversation)[1]), before(conversation, { ...question })], [true, null]);
  });
});
