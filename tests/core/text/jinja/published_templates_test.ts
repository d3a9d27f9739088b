/**
 * Published templates, with conversations that use everything, against transformers' own rendering.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { ChatTemplate } from "../../../../core/text/chat_template.ts";
import { parseWithNumbers } from "../../../../core/text/json_numbers.ts";

const folder = new URL(Deno.env.get("TEST_TEMPLATES") ?? "../../../golden/chat-templates/", import.meta.url);

interface Golden {
  readonly conversations: readonly {
    readonly messages: readonly { role: string; content: string | null }[];
    readonly tools: readonly unknown[];
    readonly variables?: Readonly<Record<string, unknown>>;
  }[];
  readonly templates: Readonly<
    Record<
      string,
      {
        readonly bos_token: string;
        readonly eos_token: string;
        readonly arguments: string;
        readonly none: boolean;
        readonly rendered: readonly (string | null)[];
      }
    >
  >;
}

const packed = new Blob([await Deno.readFile(new URL("golden.json.gz", folder))]).stream().pipeThrough(new DecompressionStream("gzip"));
const golden = parseWithNumbers(await new Response(packed).text()) as Golden;

describe("published chat templates", () => {
  for (const [name, { bos_token, eos_token, rendered, ...habits }] of Object.entries(golden.templates)) {
    it(`of ${name} render 40 conversations as transformers does`, async () => {
      const template = ChatTemplate.of({ name, template: await Deno.readTextFile(new URL(`${name}.jinja`, folder)) }, { bos_token, eos_token })!;
      assertEquals(template.habits, { arguments: habits.arguments, contentMayBeNone: habits.none } as typeof template.habits);
      assertEquals(rendered.length, 40);
      for (const [i, { messages, tools, variables }] of golden.conversations.entries()) {
        let text: string | null = null;
        let refusal: unknown;
        try {
          text = template.render(messages, { tools, variables });
        } catch (error) {
          refusal = error;
        }
        assert(text === rendered[i], `conversation ${i}:\n${text ?? refusal}\n--- transformers:\n${rendered[i]}`);
      }
    });
  }
});
