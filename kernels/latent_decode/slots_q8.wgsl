// Latents in eight bits (latent_cache/q8.ts) become f16 on their way into workgroup memory: sixteen bytes, of one scale, fill two vectors of a tile; rotated keys lie
// as they will.
struct Fetched {
  words: vec4<u32>,
  scale: f32,
}

// Vectors of a token that are fetched; scales come with what they are for.
const LOADED = KEY_VECTORS + ROPE_VECTORS;

// Where what is fetched as number `at` of a tile belongs.
fn place_of(at: u32) -> u32 {
  let vector = at % LOADED;
  return at / LOADED * STRIDE + vector + min(vector, KEY_VECTORS);
}

fn fetch(base: u32, at: u32) -> Fetched {
  let slot = base + at / LOADED * SLOT_VECTORS;
  let group = scale_group(at % LOADED * 16u);
  return Fetched(cache[slot + at % LOADED], bitcast<f32>(cache[slot + LOADED + group / 4u][group % 4u]));
}

// Four bytes, with their signs, as f16.
fn four(word: u32, scale: f32) -> vec2<u32> {
  let values = vec4<f32>((vec4<i32>(bitcast<i32>(word)) << vec4(24u, 16u, 8u, 0u)) >> vec4(24u)) * scale;
  return vec2(pack2x16float(values.xy), pack2x16float(values.zw));
}

fn put(to: u32, fetched: Fetched) {
  if (to % STRIDE >= 2u * KEY_VECTORS) {
    memory.tiles[to] = fetched.words;
    return;
  }
  memory.tiles[to] = vec4(four(fetched.words.x, fetched.scale), four(fetched.words.y, fetched.scale));
  memory.tiles[to + 1u] = vec4(four(fetched.words.z, fetched.scale), four(fetched.words.w, fetched.scale));
}
