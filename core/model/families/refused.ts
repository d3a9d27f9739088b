/**
 * Architectures with latent attention that are known and not supported.
 *
 * @module
 */

const CHOOSES = "has sparse attention of another kind";
const LINEAR = "has layers of linear attention beside latent ones";

/** By `model_type`: what of it is missing here. */
export const REFUSED: Readonly<Record<string, string>> = {
  deepseek_v4: "attends to compressed tokens that an indexer chooses",
  kimi_linear: LINEAR,
  // GLM-5.3.
  glm5_next: `${LINEAR}, which attend to tokens that an indexer chooses`,
  glm5_next_text: `${LINEAR}, which attend to tokens that an indexer chooses`,
  bailing_hybrid: LINEAR,
  // A.X-K2.
  axk2: CHOOSES,
  hy_v4: CHOOSES,
  longcat_flash_ngram: "adds embeddings of several tokens together to those of each",
};
