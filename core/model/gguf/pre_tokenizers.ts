/**
 * How texts are cut before pairs of bytes are merged. Files have only a name for it; what it means is in the tokenizers that models were published with.
 *
 * @module
 */

/** A `pre_tokenizer` of a `tokenizer.json`, without what makes bytes of texts. */
interface PreTokenizer {
  /** Expressions, each of which cuts what those before it have left. */
  readonly splits: readonly string[];
  /** Digits by themselves, behind the expressions. */
  readonly digits?: boolean;
  /** Whether a piece that is a token is left as it is. */
  readonly ignoreMerges?: boolean;
}

/** Letters that have cases. */
const CASED = [
  String
    .raw`A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386`,
  String
    .raw`\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba`,
  String.raw`\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d`,
  String
    .raw`\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102`,
  String
    .raw`\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b`,
  String
    .raw`\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17`,
  String
    .raw`\uff21-\uff3a\uff41-\uff5a\u{10400}-\u{1044f}\u{104b0}-\u{104d3}\u{104d8}-\u{104fb}\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}`,
  String.raw`\u{1e900}-\u{1e943}`,
].join("");

const CONTRACTIONS = String.raw`(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])`;

/** As GPT-4's, which many others are. */
const GPT4 = {
  splits: [String.raw`${CONTRACTIONS}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`],
} satisfies PreTokenizer;

const [UPPER, LOWER] = [String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`, String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`];

/** By `tokenizer.ggml.pre`; null: bytes are made of texts as GPT-2 cuts them. */
export const PRE_TOKENIZERS: Readonly<Record<string, PreTokenizer | null>> = {
  "gpt-2": null,
  gigachat: null,
  // DeepSeek-V2, V2-Lite and Coder-V2.
  "deepseek-llm": {
    splits: [
      String.raw`[\r\n]`,
      String.raw`\s?[${CASED}]+`,
      String.raw`\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+`,
      String.raw`\s+$`,
      String.raw`[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+`,
    ],
    digits: true,
  },
  "deepseek-coder": {
    splits: [String.raw`[\r\n]`, String.raw`\s?\p{L}+`, String.raw`\s?\p{P}+`, String.raw`[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+`],
    digits: true,
  },
  // DeepSeek-V3 and R1.
  "deepseek-v3": {
    splits: [
      String.raw`\p{N}{1,3}`,
      String.raw`[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+`,
      String
        .raw`[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_${"`"}{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
    ],
  },
  // GLM-4.7-Flash.
  glm4: GPT4,
  "chatglm-bpe": GPT4,
  "llama-bpe": { ...GPT4, ignoreMerges: true },
  // Mistral.
  tekken: {
    splits: [
      String.raw`[^\r\n\p{L}\p{N}]?${UPPER}*${LOWER}+|[^\r\n\p{L}\p{N}]?${UPPER}+${LOWER}*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
    ],
    ignoreMerges: true,
  },
};

/** What of a `tokenizer.json` it is. @param name one of {@link PRE_TOKENIZERS} */
export function preTokenizerJson(name: string): { readonly pre_tokenizer: object; readonly ignore_merges: boolean } {
  const form = PRE_TOKENIZERS[name];
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: form === null };
  if (form === null) return { pre_tokenizer: bytes, ignore_merges: false };
  const splits = form.splits.map((Regex) => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false }));
  const digits = form.digits ? [{ type: "Digits", individual_digits: true }] : [];
  return { pre_tokenizer: { type: "Sequence", pretokenizers: [...splits, ...digits, bytes] }, ignore_merges: form.ignoreMerges ?? false };
}
