/**
 * All targets.
 *
 * @module
 */
import type { Target } from "./target.ts";
import { ggufHeaders, ggufModels } from "./targets/gguf.ts";
import { bodies, requests } from "./targets/http.ts";
import { hubAnswers } from "./targets/hub.ts";
import { bases, configs, safetensors, smallFiles, templates, tiktokenModels, tokenizers } from "./targets/models.ts";
import { frames, handshakes, messagePack, webSockets } from "./targets/wire.ts";

/** In the order of README and NOTES. */
export const TARGETS: readonly Target[] = [
  requests,
  bodies,
  configs,
  smallFiles,
  safetensors,
  ggufHeaders,
  ggufModels,
  bases,
  tokenizers,
  tiktokenModels,
  templates,
  hubAnswers,
  frames,
  messagePack,
  handshakes,
  webSockets,
];
