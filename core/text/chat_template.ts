/**
 * A checkpoint's own chat template (Jinja). Templates come only from the model directory, never from a caller.
 *
 * @module
 */
import { PythonTemplate } from "./jinja/python_template.ts";
import { LatentmeshError, messageOf } from "../errors.ts";
import type { ChatMessage } from "./chat_message.ts";
import { type TemplateHabits, templateHabits, templateMessages } from "./template_messages.ts";
import type { TextSource } from "./text_source.ts";
import type { TokenizerConfig } from "./tokenizer.ts";

export type { ChatMessage };

/** Where a prompt ends: where the assistant's answer begins, behind the last message, or within it, so that it goes on. */
export type PromptEnd = "answer" | "conversation" | "message";

/** What a template is told besides the conversation. */
export interface RenderOptions {
  /** Tools in OpenAI's form, for templates that describe them. */
  readonly tools?: readonly unknown[];
  /** By default where the assistant's answer begins. */
  readonly end?: PromptEnd;
  /** Variables that templates of some families know, such as `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/** Variables of templates that are not a client's to set. */
export const TEMPLATE_VARIABLES = ["messages", "tools", "add_generation_prompt", "bos_token", "eos_token"] as const;

/** Renders conversations to prompts. */
export class ChatTemplate {
  readonly #template: PythonTemplate;
  readonly #variables: Record<string, unknown>;

  /** Its text. */
  readonly source: string;
  /** Whether it tells the model about tools. */
  readonly describesTools: boolean;
  /** Whether it writes calls and their results. */
  readonly writesCalls: boolean;

  #habits: TemplateHabits | null = null;

  private constructor(source: string, config: TokenizerConfig) {
    this.source = source;
    this.describesTools = /\btools\b/.test(source);
    this.writesCalls = /\btool_calls\b/.test(source);
    this.#template = new PythonTemplate(source);
    this.#variables = { bos_token: config.bos_token ?? "", eos_token: config.eos_token ?? "" };
  }

  /**
   * The template of `chat_template.jinja` or of the tokenizer's configuration; null if the checkpoint has none.
   *
   * @throws {LatentmeshError} `invalid_checkpoint`
   */
  static of({ name, template }: Pick<TextSource, "name" | "template">, config: TokenizerConfig): ChatTemplate | null {
    const named = config.chat_template;
    const source = template ?? (Array.isArray(named) ? named.find(({ name }) => name === "default")?.template : named);
    if (source == null) return null;
    try {
      return new ChatTemplate(source, config);
    } catch (cause) {
      throw new LatentmeshError("invalid_checkpoint", `Cannot load the chat template of ${name}: ${messageOf(cause)}`, { cause });
    }
  }

  /**
   * The prompt.
   *
   * @throws {LatentmeshError} `invalid_request` if the template refuses the conversation, or writes the message that goes on otherwise than it came
   */
  render(messages: readonly ChatMessage[], { tools = [], end = "answer", variables = {} }: RenderOptions = {}): string {
    let text: string;
    try {
      text = this.#render(templateMessages(messages, this.habits), { tools, answers: end === "answer", variables });
    } catch (cause) {
      throw new LatentmeshError("invalid_request", `The model's chat template refuses these messages: ${messageOf(cause)}`, {
        param: "messages",
        cause,
      });
    }
    return end === "message" ? endedWithin(text, String(messages.at(-1)?.content ?? "")) : text;
  }

  /** What it does with calls: found out by trying, once. */
  get habits(): TemplateHabits {
    return this.#habits ??= templateHabits((messages) => this.#render(messages, { tools: [], answers: true, variables: {} }));
  }

  #render(
    messages: readonly ChatMessage[],
    { tools, answers, variables }: { readonly answers: boolean } & Required<Pick<RenderOptions, "tools" | "variables">>,
  ): string {
    return this.#template.render({
      documents: null,
      ...variables,
      ...this.#variables,
      messages,
      // None where there are none, as transformers gives it: there are templates that ask.
      tools: tools.length > 0 ? tools : null,
      add_generation_prompt: answers,
    });
  }
}

/** A rendered conversation up to the end of its last message, as transformers cuts it: without what a template trims of it. */
function endedWithin(text: string, message: string): string {
  const trimmed = message.trim();
  const at = trimmed === "" ? -1 : text.lastIndexOf(trimmed);
  if (at < 0) {
    throw new LatentmeshError("invalid_request", "The model's chat template changes the last message, so that it cannot be continued", {
      param: "messages",
    });
  }
  const whole = message.trimStart();
  return text.slice(0, at + (text.startsWith(whole, at) ? whole : trimmed).length);
}
