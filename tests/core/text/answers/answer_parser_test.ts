import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { AnswerParser, type AnswerParserOptions, type AnswerPart } from "../../../../core/text/answers/answer_parser.ts";
import { DEEPSEEK_TOOLS } from "../../../../core/text/answers/formats/deepseek.ts";
import { KIMI_TOOLS } from "../../../../core/text/answers/formats/kimi.ts";
import { PLAIN_TOOLS } from "../../../../core/text/answers/formats/plain.ts";
import { writeCalls } from "../../../../core/text/answers/tool_format.ts";
import { SEED } from "../../../../bench/support/random.ts";

/** An answer as it was meant. */
interface Meant {
  content: string;
  reasoning: string;
  calls: { name: string; arguments: string }[];
}

function parse(pieces: readonly string[], options: AnswerParserOptions): Meant {
  const parser = new AnswerParser(options);
  const meant: Meant = { content: "", reasoning: "", calls: [] };
  const take = (part: AnswerPart) => {
    if (part.kind === "content" || part.kind === "reasoning") meant[part.kind] += part.text;
    else if (part.kind === "call") meant.calls[part.index] = { name: part.name, arguments: "" };
    else meant.calls[part.index].arguments += part.text;
  };
  for (const piece of pieces) parser.push(piece).forEach(take);
  parser.finish().forEach(take);
  assertEquals(parser.called, meant.calls.length > 0);
  return meant;
}

/** Every cut of a text in two or three. */
const cutInto = (text: string, cuts: readonly number[]) => {
  const at = [0, ...cuts.map((cut) => cut % (text.length + 1)).toSorted((a, b) => a - b), text.length];
  return at.slice(1).map((end, i) => text.slice(at[i], end));
};

const word = fc.stringMatching(/^[a-z]{1,8}$/);
const json = fc.dictionary(word, fc.oneof(fc.integer(), fc.boolean(), fc.string({ unit: "grapheme-ascii" }).filter((text) => !text.includes("<"))))
  .map((value) => JSON.stringify(value));

describe("the answer parser", () => {
  for (const format of [DEEPSEEK_TOOLS, KIMI_TOOLS, PLAIN_TOOLS]) {
    it(`takes ${format.name} calls and text apart, wherever the pieces are cut`, () => {
      fc.assert(
        fc.property(
          fc.stringMatching(/^[ -;=?-~]{0,20}$/),
          fc.array(fc.record({ name: word, arguments: json }), { maxLength: 3 }),
          fc.array(fc.nat(1000), { maxLength: 30 }),
          (content, calls, cuts) => {
            const text = content + (calls.length === 0 ? "" : writeCalls(format, calls));
            const meant = parse(cutInto(text, cuts), { tools: format, reasoning: "no" });
            assertEquals(meant, { content, reasoning: "", calls: calls.map((call) => ({ ...call })) });
          },
        ),
        { seed: SEED },
      );
    });
  }

  it("separates reasoning, whether the model or the prompt has begun it", () => {
    const pieces = cutInto("<think>First, kettles.</think>\n\nA kettle boils.", [3, 9, 24, 31, 38]);
    const meant = { content: "\n\nA kettle boils.", reasoning: "First, kettles.", calls: [] };
    assertEquals(parse(pieces, { tools: null, reasoning: "possible" }), meant);
    assertEquals(parse(["First, kettles.</th", "ink>\n\nA kettle boils."], { tools: null, reasoning: "begun" }), {
      ...meant,
      content: "A kettle boils.",
    });
    for (const text of ["<think>hm</think>\n\n", `<think>hm</think>\n\n${writeCalls(PLAIN_TOOLS, [{ name: "boil", arguments: "{}" }])}`]) {
      for (const pieces of [[text], [...text]]) {
        const { content, reasoning } = parse(pieces, { tools: PLAIN_TOOLS, reasoning: "possible" });
        assertEquals([content, reasoning], ["", "hm"]);
      }
    }
    assertEquals(parse(["never ends"], { tools: null, reasoning: "begun" }), { content: "", reasoning: "never ends", calls: [] });
    const call = { name: "boil", arguments: `{"litres": 2}` };
    assertEquals(parse([`hm</think>\n${writeCalls(DEEPSEEK_TOOLS, [call])}`], { tools: DEEPSEEK_TOOLS, reasoning: "begun" }), {
      content: "",
      reasoning: "hm",
      calls: [call],
    });
  });

  it("leaves text alone that only looks like a marker, and calls that are cut off", () => {
    assertEquals(parse(["a < b <think", " <tool_call"], { tools: PLAIN_TOOLS, reasoning: "no" }).content, "a < b <think <tool_call");
    const begun = parse([`${PLAIN_TOOLS.callBegin}${PLAIN_TOOLS.header("boil", 0)}${PLAIN_TOOLS.argumentsBegin}{"lit`], {
      tools: PLAIN_TOOLS,
      reasoning: "no",
    });
    assertEquals(begun.calls, [{ name: "boil", arguments: `{"lit` }]);
    assertEquals(parse([`${PLAIN_TOOLS.callBegin}{"na`], { tools: PLAIN_TOOLS, reasoning: "no" }).calls, []);
  });

  it("takes what looks like reasoning for content, but at the very start", () => {
    const text = "Write <think>x</think> around it.";
    assertEquals(parse(cutInto(text, [3, 8, 12, 20]), { tools: null, reasoning: "possible" }), { content: text, reasoning: "", calls: [] });
    assertEquals(parse([" \n<th", "ink>a</think>", "b <think>c"], { tools: null, reasoning: "possible" }), {
      content: "b <think>c",
      reasoning: "a",
      calls: [],
    });
    assertEquals(parse(["a</think>b <think>c</think>"], { tools: null, reasoning: "begun" }).content, "b <think>c</think>");
    for (const short of ["", " ", "<thi", "\n<think"]) assertEquals(parse([short], { tools: null, reasoning: "possible" }).content, short);
  });

  it("counts the tokens of reasoning, each of one character, wherever the answer is cut", () => {
    const near = fc.string({ unit: fc.constantFrom("a", "<", "/", "</", "</think", "think>", " "), maxLength: 8 });
    fc.assert(
      fc.property(near, near, fc.nat(), fc.boolean(), (reasoned, said, cut, begun) => {
        const text = `${begun ? "" : "<think>"}${reasoned}</think>${said}`;
        const parser = new AnswerParser({ tools: null, reasoning: begun ? "begun" : "possible" });
        const parts = [...[...text.slice(0, cut % (text.length + 1))].flatMap((character) => parser.push(character, 1)), ...parser.finish()];
        const expected = parts.reduce((sum, part) => sum + (part.kind === "reasoning" ? part.text.length : 0), 0);
        assertEquals(parser.reasoningTokens, expected, text);
      }),
      { seed: SEED, numRuns: 1000 },
    );
  });

  for (const format of [DEEPSEEK_TOOLS, KIMI_TOOLS, PLAIN_TOOLS]) {
    it(`gives of a ${format.name} call that is cut anywhere what there is of its arguments, and nothing else`, () => {
      const call = { name: "boil", arguments: `{"a": {"b": "}}</"}, "c": [1]}` };
      const text = `Yes. ${writeCalls(format, [call, call])}`;
      const begun = text.indexOf(call.arguments);
      for (let end = begun; end < text.length; end++) {
        for (const pieces of [[text.slice(0, end)], [...text.slice(0, end)]]) {
          const parser = new AnswerParser({ tools: format, reasoning: "no" });
          const parts = [...pieces.flatMap((piece) => parser.push(piece)), ...parser.finish()];
          const first = parts.map((part) => part.kind === "arguments" && part.index === 0 ? part.text : "").join("");
          assertEquals(first, call.arguments.slice(0, end - begun));
          assertEquals(
            parser.cut,
            first !== call.arguments ||
              (parts.some((part) => part.kind === "call" && part.index === 1) && end < text.lastIndexOf(call.arguments) + call.arguments.length),
          );
          const content = parts.map((part) => part.kind === "content" ? part.text : "").join("");
          assertEquals(content, "Yes. ");
        }
      }
    });
  }
});
