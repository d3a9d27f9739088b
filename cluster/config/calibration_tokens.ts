/** Tokens of a calibration; fewer than this and the statistics show the text more than the model. */
export const CALIBRATION_TOKENS = 16384;
