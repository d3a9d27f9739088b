/**
 * Models of several kinds of input, whose text model is one of the families: its fields are in `text_config`, its tensors behind a prefix. Encoders of images are not
 * read, and neither are their tensors.
 *
 * @module
 */

/** What begins the names of the text model's tensors. */
export const WRAPPED_PREFIX = "language_model.";

/** `model_type` of wrappers. */
export const WRAPPERS: readonly string[] = [
  // Mistral 4 with images.
  "mistral3",
  // Kimi-K2.5.
  "kimi_k25",
  // Kimi-VL, whose text model is Moonlight's.
  "kimi_vl",
];

/** Fields of the whole that hold for the text model, too. */
const SHARED = ["tie_word_embeddings", "quantization_config", "bos_token_id", "eos_token_id"];

/** The fields of the text model; what the whole says holds where it does not say otherwise, but for `tie_word_embeddings`, which the whole decides. */
export function textConfig(whole: Readonly<Record<string, unknown>>, text: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const shared = Object.fromEntries(SHARED.filter((field) => whole[field] !== undefined).map((field) => [field, whole[field]]));
  return { ...shared, ...text, ...(typeof whole.tie_word_embeddings === "boolean" ? { tie_word_embeddings: whole.tie_word_embeddings } : {}) };
}
