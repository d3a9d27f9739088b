/**
 * What translated shaders call.
 *
 * @module
 */

/** JavaScript in front of a shader's own. */
export const HELPERS: string = `
const $view = new DataView(new ArrayBuffer(4));
const $asFloat = (bits) => { $view.setUint32(0, bits); return $view.getFloat32(0); };
const $asBits = (value) => { $view.setFloat32(0, value); return $view.getUint32(0); };
const $halfBits = (value) => { $view.setFloat16(0, value); return $view.getUint16(0); };
const $halfValue = (bits) => { $view.setUint16(0, bits); return $view.getFloat16(0); };
const $pack = (v) => ($halfBits(v[0]) | ($halfBits(v[1]) << 16)) >>> 0;
const $unpack = (word) => [$halfValue(word & 0xffff), $halfValue(word >>> 16)];
const $bits = (word) => { let count = 0; for (; word !== 0; word = (word & (word - 1)) >>> 0) count++; return count; };
const $pick = (v, at) => at.map((i) => v[i]);
const $map1 = (size, write, a) => size === 2 ? [write(0, a), write(1, a)] : size === 4 ? [write(0, a), write(1, a), write(2, a), write(3, a)] : Array.from({ length: size }, (_, i) => write(i, a));
const $map2 = (size, write, a, b) => size === 2 ? [write(0, a, b), write(1, a, b)] : size === 4 ? [write(0, a, b), write(1, a, b), write(2, a, b), write(3, a, b)] : Array.from({ length: size }, (_, i) => write(i, a, b));
const $map3 = (size, write, a, b, c) => size === 2 ? [write(0, a, b, c), write(1, a, b, c)] : size === 4 ? [write(0, a, b, c), write(1, a, b, c), write(2, a, b, c), write(3, a, b, c)] : Array.from({ length: size }, (_, i) => write(i, a, b, c));
const $within = (index, count, name) => { if (!(index < count)) throw new RangeError(\`Element \${index} of \${count} in \${name}\`); return index; };
const $zero = new Float32Array(256);
const $uniform = (value) => value;
const max = Math.max, min = Math.min;
`;
