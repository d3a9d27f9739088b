// What sampling needs to know of a chunk of the vocabulary.
import { exp4, largestOf, sumOf } from "../device/wasm/simd";

// @ts-ignore: decorator
@unmanaged
class Candidates {
  logits: usize;
  sampling: usize;
  lists: usize;
  vocabulary: u32;
  chunkTokens: u32;
  chunks: u32;
  listWords: u32;
  header: u32;
  // Of this step.
  count: u32;
  draw: u32;
  firstToken: u32;
}

const NO_TOKEN: u32 = 0xffffffff;
const LOWEST: f32 = -3.0e38;

// A piece is a chunk of a row.
export function candidates(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Candidates>(args);
  for (let piece = first; piece < end; piece++) {
    const row = piece / all.chunks, begin = piece % all.chunks * all.chunkTokens;
    const tokens = min(all.chunkTokens, all.vocabulary - begin);
    const values = all.logits + (row * all.vocabulary + begin << 2);
    const sampling = all.sampling + (row << 4);
    const to = all.lists + (piece * all.listWords << 2);
    const largest = best(values, tokens, max<u32>(all.count, 1), all.firstToken + begin, to + (all.header << 2));
    store<f32>(to, largest);
    powers(values, tokens, largest, load<f32>(sampling, 8), to);
    draw(all.draw != 0, values, tokens, sampling, all.firstToken + begin, load<u32>(to + (all.header << 2)), to);
  }
}

// The `count` largest, descending, of equals the lower token first, as (token, logit). Returns the largest.
function best(values: usize, tokens: u32, count: u32, firstToken: u32, list: usize): f32 {
  for (let i: u32 = 0; i < count; i++) {
    store<u32>(list + (i << 3), NO_TOKEN);
    store<f32>(list + (i << 3), LOWEST, 4);
  }
  let found: u32 = 0;
  let least: f32 = -Infinity;
  const whole = tokens & ~3;
  for (let i: u32 = 0; i < tokens;) {
    // Most fours hold nothing that is larger than all that are kept.
    if (found == count && i < whole && !v128.any_true(f32x4.gt(v128.load(values + (i << 2)), f32x4.splat(least)))) {
      i += 4;
      continue;
    }
    const end = i < whole ? i + 4 : tokens;
    for (; i < end; i++) {
      const value = load<f32>(values + (i << 2));
      if (found == count && !(value > least)) continue;
      let at = found < count ? found++ : count - 1;
      for (; at > 0 && value > load<f32>(list + (at - 1 << 3), 4); at--) store<u64>(list + (at << 3), load<u64>(list + (at - 1 << 3)));
      store<u32>(list + (at << 3), firstToken + i);
      store<f32>(list + (at << 3), value, 4);
      least = load<f32>(list + (found - 1 << 3), 4);
    }
  }
  return load<f32>(list, 4);
}

// Σ exp(l − largest), and the same by temperature.
function powers(values: usize, tokens: u32, largest: f32, inverseTemperature: f32, to: usize): void {
  const shift = f32x4.splat(largest), by = f32x4.splat(inverseTemperature);
  const same = inverseTemperature == 1;
  let plain = f32x4.splat(0), tempered = plain;
  let i: u32 = 0;
  for (; i + 4 <= tokens; i += 4) {
    const below = f32x4.sub(v128.load(values + (i << 2)), shift);
    plain = f32x4.add(plain, exp4(below));
    if (!same) tempered = f32x4.add(tempered, exp4(f32x4.mul(below, by)));
  }
  let p = sumOf(plain), t = sumOf(tempered);
  for (; i < tokens; i++) {
    const below = f32x4.splat(load<f32>(values + (i << 2)) - largest);
    p += f32x4.extract_lane(exp4(below), 0);
    if (!same) t += f32x4.extract_lane(exp4(f32x4.mul(below, by)), 0);
  }
  store<f32>(to, p, 20);
  store<f32>(to, same ? p : t, 24);
}

// Gumbel-max (core/random.ts). −ln v is an upper bound of the noise, so that next to none of it is computed: for what cannot score more than `best`, the token with the
// largest logit, none at all.
function draw(draws: bool, values: usize, tokens: u32, sampling: usize, firstToken: u32, best: u32, to: usize): void {
  let drawn: f64 = LOWEST;
  let token = NO_TOKEN;
  if (draws && best != NO_TOKEN) {
    const key = mix(mix(load<u32>(sampling) ^ 0x2545f491) + load<u32>(sampling, 4));
    const by = load<f32>(sampling, 8), whole = tokens & ~3;
    const least = scoreOf(levelOf(values + (best - firstToken << 2), by), mix(key + best));
    let limit = limitOf(least);
    for (let i: u32 = 0; i < tokens;) {
      if (i < whole && !mayExceed(v128.load(values + (i << 2)), by, key + firstToken + i, limit)) {
        i += 4;
        continue;
      }
      const end = i < whole ? i + 4 : tokens;
      for (; i < end; i++) {
        const bits = mix(key + firstToken + i);
        const level = levelOf(values + (i << 2), by), most = level + <f64>(clz(bits) + 1) * 0.6931471805599454;
        if (most < least || most <= drawn) continue;
        const score = scoreOf(level, bits);
        if (score > drawn) {
          drawn = score;
          limit = limitOf(max(drawn, least));
          token = firstToken + i;
        }
      }
    }
  }
  store<u32>(to, token, 8);
  store<f32>(to, <f32>drawn, 12);
}

// @ts-ignore: decorator
@inline
function levelOf(value: usize, by: f32): f64 {
  return <f64>load<f32>(value) * <f64>by;
}

function scoreOf(level: f64, bits: u32): f64 {
  return level - NativeMath.log(-NativeMath.log1p(-(<f64>bits + 0.5) * 2.3283064365386963e-10));
}

// Below what nothing can exceed a score, though it was computed in f32.
// @ts-ignore: decorator
@inline
function limitOf(drawn: f64): f32 {
  return <f32>(drawn - abs(drawn) * 1e-6 - 1e-3);
}

// Whether one of four may score more than that. Their noise is at most (clz + 1) ln 2; half of their bits as a float has 30 or 31 less clz as its exponent, where rounding may
// have made it one more.
// @ts-ignore: decorator
@inline
function mayExceed(values: v128, by: f32, first: u32, limit: f32): bool {
  const level = f32x4.mul(values, f32x4.splat(by));
  const half = f32x4.convert_i32x4_s(i32x4.shr_u(mixFour(i32x4.add(i32x4.splat(first), i32x4(0, 1, 2, 3))), 1));
  const noise = f32x4.mul(f32x4.convert_i32x4_s(i32x4.sub(i32x4.splat(127 + 32), i32x4.shr_u(half, 23))), f32x4.splat(0.6931472));
  const most = f32x4.add(f32x4.add(level, noise), f32x4.mul(f32x4.abs(level), f32x4.splat(1e-6)));
  return v128.any_true(f32x4.gt(most, f32x4.splat(limit)));
}

// @ts-ignore: decorator
@inline
function mixFour(h: v128): v128 {
  h = i32x4.mul(v128.xor(h, i32x4.shr_u(h, 16)), i32x4.splat(0x85ebca6b));
  h = i32x4.mul(v128.xor(h, i32x4.shr_u(h, 13)), i32x4.splat(0xc2b2ae35));
  return v128.xor(h, i32x4.shr_u(h, 16));
}

// @ts-ignore: decorator
@inline
function mix(h: u32): u32 {
  h ^= h >> 16;
  h *= 0x85ebca6b;
  h ^= h >> 13;
  h *= 0xc2b2ae35;
  return h ^ (h >> 16);
}
