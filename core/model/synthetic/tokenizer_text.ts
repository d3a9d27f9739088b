/**
 * Tokenizer of synthetic models: bytes, and above them words that no text becomes but every answer may hold.
 *
 * @module
 */
import { characterOfByte } from "../../byte_alphabet.ts";
import { BOS_TOKEN, EOS_TOKEN } from "./shapes.ts";

const [BOS, EOS] = ["<|begin|>", "<|end|>"];
const FIRST_BYTE = 2;
const FIRST_WORD = FIRST_BYTE + 256;

/** `tokenizer.json` with `vocabulary` tokens. */
export function syntheticTokenizer(vocabulary: number): string {
  const special = (id: number, content: string) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  const text = JSON.stringify({
    version: "1.0",
    added_tokens: [special(BOS_TOKEN, BOS), special(EOS_TOKEN, EOS)],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: "BPE",
      unk_token: null,
      vocab: {},
      // Nothing is put together: text is its bytes.
      merges: [],
    },
  });
  // An object of so many names takes ten times as long to make as to write.
  const vocab = Array.from({ length: vocabulary }, (_, id) => `${JSON.stringify(textOf(id))}:${id}`).join();
  return text.replace('"vocab":{}', () => `"vocab":{${vocab}}`);
}

function textOf(id: number): string {
  if (id === BOS_TOKEN) return BOS;
  if (id === EOS_TOKEN) return EOS;
  return id < FIRST_WORD ? characterOfByte(id - FIRST_BYTE) : `${characterOfByte(0x20)}w${id.toString(36)}`;
}

/** `tokenizer_config.json`. */
export const SYNTHETIC_TOKENIZER_CONFIG: string = JSON.stringify({
  bos_token: BOS,
  eos_token: EOS,
  add_bos_token: true,
  chat_template: "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:",
});
