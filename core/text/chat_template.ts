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
   * The prompt, ending where the assistant's answer begins.
   *
   * @param tools in OpenAI's form, for templates that describe them
   * @throws {LatentmeshError} `invalid_request` if the template refuses the conversation
   */
  render(messages: readonly ChatMessage[], tools: readonly unknown[] = []): string {
    try {
      return this.#render(templateMessages(messages, this.habits), tools);
    } catch (cause) {
      throw new LatentmeshError("invalid_request", `The model's chat template refuses these messages: ${messageOf(cause)}`, {
        param: "messages",
        cause,
      });
    }
  }
  /** What it does with calls: found out by trying, once. */
  get habits(): TemplateHabits {
    return this.#habits ??= templateHabits((messages) => this.#render(messages, []));
  }

  #render(messages: readonly ChatMessage[], tools: readonly unknown[]): string {
    return this.#template.render({ ...this.#variables, messages, ...(tools.length > 0 ? { tools } : {}), add_generation_prompt: true });
  }
}
