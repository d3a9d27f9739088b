/**
 * Models that are on no disk: names, tensors, bytes, text.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { LatentmeshError } from "../../../core/errors.ts";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../../core/model/config.ts";
import { readVector } from "../../../core/model/stored_vector.ts";
import { modelHash } from "../../../core/model/model_hash.ts";
import { queryWidth } from "../../../core/model/spec.ts";
import { isSynthetic, parseSynthetic } from "../../../core/model/synthetic/name.ts";
import { configOf, SHAPES } from "../../../core/model/synthetic/shapes.ts";
import { SyntheticFiles } from "../../../core/model/synthetic/synthetic_files.ts";
import { modelTensors } from "../../../core/model/synthetic/model_tensors.ts";
import { readModelPackage } from "../../../core/model_package.ts";
import { createDetokenizer } from "../../../core/text/detokenizer.ts";
import { TextTokenizer } from "../../../core/text/tokenizer.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { fixtureDirectory, FIXTURES } from "../../support/checkpoints.ts";
import { SEED } from "../../../bench/support/random.ts";

describe("synthetic models", () => {
  for (const fixture of FIXTURES) {
    it(`have the tensors that ${fixture} has`, async () => {
      using files = new DirectoryFiles(fixtureDirectory(fixture));
      const checkpoint = await Checkpoint.open(files);
      const tensors = modelTensors(parseModelConfig((await files.text("config.json"))!, fixture));
      // Experts may be in one tensor, those without weights have some in files, and encoders of images are not of the text model.
      const isOther = (name: string) => name.includes(".experts.") || /^(vision_tower|multi_modal)/.test(name) || name.endsWith("_scale_inv");
      const others = tensors.filter(({ role }) => !role.startsWith("expert"));
      assertEquals(others.map(({ name }) => name).sort(), [...checkpoint.names()].filter((name) => !isOther(name)).sort());
      const experts = tensors.filter(({ role, name }) => role.startsWith("expert") && !checkpoint.has(name));
      assertEquals(experts.length > 0, fixture === "mistral4-tiny" || fixture === "mistral3-tiny");
      for (const { name, shape } of tensors) if (checkpoint.has(name)) assertEquals([...checkpoint.info(name).shape], [...shape], name);
    });
  }

  it("come in every shape", () => {
    for (const shape of Object.keys(SHAPES) as (keyof typeof SHAPES)[]) {
      const spec = parseModelConfig(configOf(shape, 3), shape);
      assertEquals(
        [spec.layers, spec.heads, queryWidth(spec) - spec.rope.width],
        [3, SHAPES[shape].num_attention_heads, SHAPES[shape].qk_nope_head_dim],
      );
    }
  });

  it("are named by shape, layers and seed", () => {
    assertEquals(parseSynthetic("synthetic:v2-lite?layers=9&seed=3"), { shape: "v2-lite", layers: 9, seed: 3, int4: null, mtp: false });
    assertEquals(parseSynthetic("synthetic:kimi-k2"), { shape: "kimi-k2", layers: 61, seed: 1, int4: null, mtp: false });
    assertEquals(parseSynthetic("synthetic:kimi-k2?int4=32&mtp=1"), { shape: "kimi-k2", layers: 61, seed: 1, int4: 32, mtp: true });
    assertEquals([isSynthetic("synthetic:tiny"), isSynthetic("models/synthetic")], [true, false]);
    const wrong: [string, string][] = [
      ["synthetic:v4", "there are tiny, v2-lite, moonlight"],
      ["synthetic:toString", "There is no shape"],
      ["synthetic:tiny?layers=0", 'layers is "0"; it must be 1 … 1000'],
      ["synthetic:tiny?layers=1.5", "layers is"],
      ["synthetic:tiny?layers=1&layers=2", "there twice"],
      ["synthetic:tiny?int4=33", 'int4 is "33"; it must be 32 or 64 or 128'],
      ["synthetic:tiny?mtp=2", 'mtp is "2"; it must be 0 … 1'],
      ["synthetic:tiny?depth=3", '"depth" is no parameter'],
      ["synthetic:tiny?layers=1?seed=2", "more than one question mark"],
    ];
    for (const [name, problem] of wrong) assertEquals(assertThrows(() => parseSynthetic(name), LatentmeshError, problem).param, "model", name);
  });

  it("have a file whose bytes are the same however they are read", async () => {
    for (const name of ["synthetic:tiny?layers=2", "synthetic:tiny?layers=2&int4=32"]) {
      const source = (await SyntheticFiles.named(name).open("model.safetensors"))!;
      const whole = await source.read(0, source.size);
      const place = fc.oneof(fc.nat(source.size), fc.nat(8000), fc.nat(300).map((back) => source.size - back));
      await fc.assert(
        fc.asyncProperty(place, fc.oneof(fc.nat(9), fc.nat(5000)), async (offset, length) => {
          length = Math.min(length, source.size - offset);
          assertEquals(await source.read(offset, length), whole.slice(offset, offset + length));
        }),
        { seed: SEED, numRuns: 300 },
      );
    }
  });

  it("have small weights, norms of ones, no biases, and others for every tensor and seed", async () => {
    const open = (seed: number) => Checkpoint.open(SyntheticFiles.named(`synthetic:tiny?seed=${seed}`));
    const [checkpoint, other] = [await open(1), await open(2)];
    const read = (from: Checkpoint, name: string) => readVector(from, name, from.info(name).shape.reduce((a, b) => a * b));
    const query = "model.layers.1.self_attn.q_proj.weight";
    const values = await read(checkpoint, query);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const deviation = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
    assert(Math.abs(mean) < 5e-4 && Math.abs(deviation * 64 * Math.sqrt(3) - 1) < 0.02, `mean ${mean}, deviation ${deviation}`);
    assert(values.every((value) => Math.abs(value) < 1 / 64));
    assertNotEquals(values, await read(other, query));
    assertNotEquals(values, await read(checkpoint, "model.layers.2.self_attn.q_proj.weight"));
    assert((await read(checkpoint, "model.norm.weight")).every((value) => value === 1));
    assert((await read(checkpoint, "model.layers.1.mlp.gate.e_score_correction_bias")).every((value) => value === 0));
    const hashes = await Promise.all([checkpoint, other, await open(1)].map((one) => modelHash("{}", one)));
    assertEquals([hashes[0] === hashes[1], hashes[0] === hashes[2]], [false, true]);
  });

  it("can say every token, read every text, and chat", async () => {
    const model = await readModelPackage(SyntheticFiles.named("synthetic:tiny"));
    const { tokenizer, spec, chatTemplate } = model;
    assertEquals([spec.bosToken, [...spec.eosTokens]], [tokenizer.bosToken, [tokenizer.eosToken!]]);
    const texts = Array.from({ length: spec.vocabSize }, (_, token) => new TextDecoder("latin1").decode(tokenizer.bytesOf(token)));
    assertEquals(new Set(texts).size, spec.vocabSize);
    assert(texts.every((text) => text.length > 0));
    assertEquals(tokenizer.decode([spec.vocabSize - 1], { skipSpecial: true }), texts.at(-1)!);
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 40 }), (text) => {
        // Half of a surrogate pair is no text.
        const whole = text.toWellFormed();
        const tokens = tokenizer.encode(whole, { special: true });
        assertEquals([tokens[0], tokens.length], [spec.bosToken, new TextEncoder().encode(whole).length + 1]);
        const detokenizer = createDetokenizer(tokenizer);
        assertEquals(tokens.map((token) => detokenizer.push(token)).join("") + detokenizer.finish(), whole);
      }),
      { seed: SEED, numRuns: 200 },
    );
    assertEquals(chatTemplate!.render([{ role: "user", content: "Hi" }]), "<|begin|>user: Hi\nassistant:");
  });

  it("have a vocabulary of the model's size", async () => {
    const tokenizer = await TextTokenizer.load(SyntheticFiles.named("synthetic:kimi-k2"));
    assertEquals(new TextDecoder().decode(tokenizer.bytesOf(163839)), ` w${(163839).toString(36)}`);
    assertEquals(tokenizer.bytesOf(163840).byteLength, 0);
  });
});
