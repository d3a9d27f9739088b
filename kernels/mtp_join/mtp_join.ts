/**
 * What a multi-token-prediction layer takes in: a token's embedding and the hidden state that chose it, each normalised, side by side.
 *
 * @module
 */
import { constants, type Kernel } from "../authoring/contract.ts";
import { rmsScale, rowWgsl, valuesPerRead } from "../rms_norm/rms_norm.ts";
import source from "./mtp_join.wgsl" with { type: "text" };

/** Where a row's hidden state is: this bit and a row of `x`, which is normalised as logits are made of it, or a row of `kept`, which has been. */
export const FROM_STREAM = 0x80000000;

/** Nowhere: it counts as zero. */
export const NO_HIDDEN = 0xffffffff;

/** Width of the residual stream, and epsilon of its norms. */
export interface MtpJoinConfig {
  readonly width: number;
  readonly eps: number;
}

/** Bindings of {@link mtpJoin}. */
export type MtpJoinBindings = "embedded" | "x" | "kept" | "embedding_norm" | "hidden_norm" | "final_norm" | "places" | "y";

/**
 * y[row] = [norm(embedded[row]) · embedding_norm, norm(hidden) · hidden_norm]: [rows, 2 · width]. `places` is [rows, 2] words, of which the first says where hidden is,
 * see {@link FROM_STREAM}. embedded, x: [rows, width]; kept: [any, width].
 */
export const mtpJoin: Kernel<MtpJoinConfig, MtpJoinBindings, "rows"> = {
  name: "mtp_join",
  bindings: {
    embedded: "read",
    x: "read",
    kept: "read",
    embedding_norm: "read",
    hidden_norm: "read",
    final_norm: "read",
    places: "read",
    y: "read_write",
  },
  params: ["rows"],
  wgsl: (config) => constants({ FROM_STREAM, NO_HIDDEN }) + rowWgsl(config, valuesPerRead(config.width)) + source,
  workgroups: (_, { rows }) => [rows, 1, 1],
  sizes: ({ width }, { rows }) => ({
    embedded: rows * width * 4,
    x: rows * width * 4,
    kept: width * 4,
    embedding_norm: width * 4,
    hidden_norm: width * 4,
    final_norm: width * 4,
    places: rows * 8,
    y: rows * width * 8,
  }),
  reference({ width, eps }, { embedded, x, kept, embedding_norm, hidden_norm, final_norm, places, y }, { rows }) {
    const hidden = new Float32Array(width);
    for (let row = 0; row < rows; row++) {
      const place = places.u32[row * 2];
      if (place === NO_HIDDEN) hidden.fill(0);
      else if (place >= FROM_STREAM) {
        const from = (place - FROM_STREAM) * width;
        const scale = rmsScale(x.f32, from, width, eps);
        for (let k = 0; k < width; k++) hidden[k] = x.f32[from + k] * scale * final_norm.f32[k];
      } else hidden.set(kept.f32.subarray(place * width, (place + 1) * width));
      const [ofEmbedding, ofHidden] = [rmsScale(embedded.f32, row * width, width, eps), rmsScale(hidden, 0, width, eps)];
      for (let k = 0; k < width; k++) {
        y.f32[row * 2 * width + k] = embedded.f32[row * width + k] * ofEmbedding * embedding_norm.f32[k];
        y.f32[(row * 2 + 1) * width + k] = hidden[k] * ofHidden * hidden_norm.f32[k];
      }
    }
  },
};
