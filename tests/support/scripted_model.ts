/**
 * A model that says what a script has it say, with a real tokenizer and template: any answer can be had, and what an API makes of it tested. Where the answer must
 * follow a grammar, a script that does not fails.
 *
 * @module
 */
import type { ServedModel, TokenEngine, TokenRequest } from "../../core/engine.ts";
import { cancellation } from "../../core/errors.ts";
import { ChatTemplate } from "../../core/text/chat_template.ts";
import { readTextSource } from "../../core/text/text_source.ts";
import { TextTokenizer } from "../../core/text/tokenizer.ts";
import { DirectoryFiles } from "../../workers/load/model_files.ts";
import { fixtureDirectory } from "./checkpoints.ts";

/** What is said to a prompt; what it throws is an engine's failure. `…` where a script ends lets the answer go on until it is cut. */
export type Script = (prompt: string, request: TokenRequest) => string | Promise<string>;

const TEMPLATE = `{% if tools %}[tools]{{ tools | tojson }}
{% endif %}{% for m in messages %}[{{ m.role }}]{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content or '' }}
{%- for call in m.tool_calls or [] %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}
{% endfor %}{% if add_generation_prompt %}[assistant]{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}
{%- if reasoning_effort is defined %}({{ reasoning_effort }}){% endif %}{% endif %}`;

const CONTEXT = 4096;

/** A served model that reasons in `<think>` and calls in `<tool_call>`. */
export async function scriptedModel(script: Script, { maxContext = CONTEXT }: { readonly maxContext?: number } = {}): Promise<ServedModel> {
  const tiny = await readTextSource(new DirectoryFiles(fixtureDirectory("tiny-mla")));
  const vocabulary = JSON.parse(tiny.tokenizer);
  const [first] = vocabulary.added_tokens;
  vocabulary.added_tokens.push({ ...first, id: 8192, content: "<think>" }, { ...first, id: 8193, content: "</think>" });
  const textSource = { ...tiny, tokenizer: JSON.stringify(vocabulary), template: TEMPLATE };
  const tokenizer = TextTokenizer.of(textSource);
  return {
    id: "scripted",
    created: 1_700_000_000,
    engine: scriptedEngine(tokenizer, script, maxContext),
    textSource,
    tokenizer,
    chatTemplate: ChatTemplate.of(textSource, tokenizer.config),
    vocabSize: 8194,
    eosTokens: [tokenizer.eosToken!],
    samplingDefaults: {},
  };
}

function scriptedEngine(tokenizer: TextTokenizer, script: Script, maxContext: number): TokenEngine {
  return {
    maxContext,
    ready: true,
    async generate(request, emit) {
      const { prompt, maxTokens, stopTokens, constraint, signal } = request;
      const text = await script(tokenizer.decode(prompt, { skipSpecial: false }), request);
      emit({ kind: "prefilled", cached: prompt.length >> 1 });
      const said = tokenizer.encode(text.replace(/…$/, ""), { special: false });
      const tokens = text.endsWith("…") ? [...said, ...new Array(maxTokens).fill(said.at(-1))] : [...said, tokenizer.eosToken!];
      for (const [i, token] of tokens.entries()) {
        if (signal.aborted) throw cancellation(signal);
        if (i === maxTokens) return emit({ kind: "finish", reason: "length" });
        await constraint?.settled;
        if (constraint !== undefined && (constraint.mask[token >>> 5] >>> (token & 31) & 1) === 0) {
          throw new Error(`the script says ${JSON.stringify(tokenizer.decode([token], { skipSpecial: false }))}, which does not fit the grammar`);
        }
        emit({ kind: "token", token, logprob: request.logprobs === null ? null : { token, logprob: -1, top: [] } });
        if (stopTokens.has(token)) return emit({ kind: "finish", reason: "stop" });
        constraint?.accept(token);
        // Others have their turn, as between steps of an engine.
        if (i % 8 === 0) await new Promise((resolve) => setTimeout(resolve));
      }
      emit({ kind: "finish", reason: "length" });
    },
  };
}
