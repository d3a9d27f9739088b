import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../core/errors.ts";
import { readSafetensorsHeader } from "../../core/model/safetensors.ts";
import { Engine } from "../../cluster/local_engine.ts";
import { DirectoryFiles } from "../../workers/load/model_files.ts";
import { describeOnDevices } from "../support/devices.ts";
import { itOfWhole, tested } from "../support/extent.ts";
import { ROOT } from "../../bench/support/root.ts";
import { fixtureDirectory } from "../support/checkpoints.ts";
import { readGolden } from "../support/fixtures.ts";
import { assertGoldenGenerations, generate, golden } from "../support/generation.ts";

const dawn = Deno.env.get("LATENTMESH_DAWN");

async function withEngine(options: Partial<Parameters<typeof Engine.load>[0]>, test: (engine: Engine) => Promise<void>): Promise<void> {
  const engine = await Engine.load({ model: fixtureDirectory("tiny-mla"), device: "wasm", dawn, ...options });
  try {
    await test(engine);
  } finally {
    await engine.close();
  }
}

/** Makes one value of a tensor in bf16 NaN. */
async function writeNaN(model: string, tensor: string): Promise<void> {
  const path = `${model}/model.safetensors`;
  using files = new DirectoryFiles(model);
  const { offset } = (await readSafetensorsHeader((await files.open("model.safetensors"))!)).tensors.get(tensor)!;
  const bytes = await Deno.readFile(path);
  bytes.set([0xc0, 0x7f], offset + 600 * 2);
  await Deno.writeFile(path, bytes);
}

describeOnDevices("engine", (kind) => {
  // Dawn on a software driver takes minutes to compile what decodes several.
  const maxBatch = kind === "dawn" ? 1 : undefined;

  // Of tiny-mla, plain references take seconds.
  (kind === "cpu" ? itOfWhole : it)("generates the goldens of tiny-mla greedily", () =>
    withEngine({ device: kind, maxBatch }, async (engine) => {
      await assertGoldenGenerations(engine);
    }));

  if (kind === "deno") {
    it("has run its kernels once before the first request", async () => {
      const encoder = GPUComputePassEncoder.prototype;
      const { dispatchWorkgroups } = encoder;
      let dispatches = 0;
      encoder.dispatchWorkgroups = function (...groups) {
        dispatches++;
        dispatchWorkgroups.apply(this, groups);
      };
      try {
        await withEngine({ device: kind }, (engine) => Promise.resolve(assert(dispatches > 2 * engine.spec.layers, `${dispatches} dispatches`)));
      } finally {
        encoder.dispatchWorkgroups = dispatchWorkgroups;
      }
    });
  }

  const others = [
    "deepseek-v2-lite-tiny",
    "deepseek-v3-tiny",
    "glm4-moe-lite-tiny",
    "mistral4-tiny",
    "youtu-tiny",
    "minicpm3-tiny",
    "axk1-tiny",
  ] as const;
  for (const name of kind === "cpu" ? tested("other models", others, (name) => name === "deepseek-v3-tiny") : others) {
    it(`generates the golden of ${name} greedily`, () =>
      withEngine({ device: kind, maxBatch, model: fixtureDirectory(name) }, async (engine) => {
        const { generated } = await readGolden(name);
        const prompt = generated!.slice(0, 24);
        const { tokens } = await generate(engine, { prompt, maxTokens: 40, ignoreEos: true });
        assertEquals(tokens, generated!.slice(24));
      }));
  }

  it("gives no token where logits are NaN, and says so", async () => {
    const model = await Deno.makeTempDir();
    try {
      const from = fixtureDirectory("deepseek-v3-tiny");
      for (const file of ["config.json", "tokenizer.json", "model.safetensors"]) await Deno.copyFile(`${from}/${file}`, `${model}/${file}`);
      await writeNaN(model, "model.layers.1.mlp.shared_experts.up_proj.weight");
      await withEngine({ device: kind, maxBatch, model }, async (engine) => {
        for (const temperature of [0, 1]) {
          const { code } = await assertRejects(
            () => generate(engine, { prompt: [5, 6, 7], maxTokens: 3, temperature }),
            LatentmeshError,
            "logits are not numbers",
          );
          assertEquals(code, "internal");
        }
      });
    } finally {
      await Deno.remove(model, { recursive: true });
    }
  });
});

describe("engine", () => {
  it("refuses options that it does not have, and threads that there cannot be", async () => {
    const load = (options: object) =>
      Engine.load({ model: fixtureDirectory("tiny-mla"), device: "wasm", ...options }).then((engine) => engine.close());
    await assertRejects(() => load({ ranks: 2 }), LatentmeshError, "Cannot use ranks: there is no such option of Engine.load");
    await assertRejects(() => load({ threads: 0 }), LatentmeshError, "threads: expected a whole number from 1 to 256, got 0");
  });

  it("leaves no thread behind where it is closed right after a generation was left", async () => {
    const Thread = globalThis.Worker;
    let running = 0;
    globalThis.Worker = class extends Thread {
      constructor(...args: ConstructorParameters<typeof Worker>) {
        super(...args);
        running++;
      }
      override terminate(): void {
        running--;
        super.terminate();
      }
    };
    try {
      await withEngine({ threads: 2 }, async (engine) => {
        const leaves = new AbortController();
        const generation = engine.generate({ prompt: [0, 100, 200, 300], maxTokens: 50, ignoreEos: true, signal: leaves.signal });
        await assertRejects(async () => {
          for await (const _ of generation) leaves.abort();
        }, LatentmeshError);
      });
      // The step after the one that was under way would be computed now.
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
      assertEquals(running, 0);
    } finally {
      globalThis.Worker = Thread;
    }
  });

  it("scores a document as transformers does", () =>
    withEngine({}, async (engine) => {
      const documents: string[] = JSON.parse(await Deno.readTextFile(`${ROOT}/tests/golden/public.json`));
      const { tokens, nll } = await engine.score(documents[3], { limitTokens: 1024 });
      assertEquals(tokens, 833);
      assert(Math.abs(nll / tokens - golden.public.per_doc_nll[3]) < 1e-4, `${nll / tokens}`);
    }));

  it("draws the same tokens from the same seed, on any device, and others from another", () =>
    withEngine({}, async (engine) => {
      const options = { prompt: "To create a new table", maxTokens: 12, temperature: 1.2 };
      const first = await generate(engine, { ...options, seed: 7 });
      assertEquals((await generate(engine, { ...options, seed: 7 })).tokens, first.tokens);
      assert((await generate(engine, { ...options, seed: 8 })).tokens.join() !== first.tokens.join(), "another seed");
      // A nucleus of nearly everything needs whole rows; at probability one it must agree with unrestricted drawing.
      assertEquals((await generate(engine, { ...options, seed: 7, topP: 0.999999 })).tokens, first.tokens);
    }));

  it("honours bias, penalties and stop strings", () =>
    withEngine({}, async (engine) => {
      const prompt = "And it came to pass in those days";
      const plain = await generate(engine, { prompt, maxTokens: 16 });
      const banned = await generate(engine, { prompt, maxTokens: 4, logitBias: new Map([[plain.tokens[0], -100]]), logprobs: 1 });
      assert(banned.tokens[0] !== plain.tokens[0], "the banned token");
      assertEquals(banned.logprobs[0].top[0].token, plain.tokens[0], "log-probabilities are the model's own");
      const repetitive = await generate(engine, { prompt, maxTokens: 40 });
      const penalised = await generate(engine, { prompt, maxTokens: 40, frequencyPenalty: 2, presencePenalty: 2, repetitionPenalty: 1.5 });
      assert(new Set(penalised.tokens).size > new Set(repetitive.tokens).size, "more varied");
      const stopped = await generate(engine, { prompt, maxTokens: 16, stop: ["LORD"] });
      assertEquals(stopped.text, plain.text.slice(0, plain.text.indexOf("LORD")));
      assertEquals(stopped.finishReason, "stop");
    }));

  it("serves several requests at once, each as if alone, and forgets those that are left", () =>
    withEngine({}, async (engine) => {
      const prompts = Object.keys(golden.generations).slice(0, 3);
      const alone: string[] = [];
      for (const prompt of prompts) alone.push((await generate(engine, { prompt, maxTokens: 8 })).text);
      const together = await Promise.all(prompts.map((prompt) => generate(engine, { prompt, maxTokens: 8 })));
      assertEquals(together.map(({ text }) => text), alone);
      for await (const _ of engine.generate({ prompt: prompts[0], maxTokens: 1000 })) break;
      const controller = new AbortController();
      const error = await assertRejects(
        async () => {
          for await (const _ of engine.generate({ prompt: prompts[0], maxTokens: 1000, signal: controller.signal })) controller.abort();
        },
        LatentmeshError,
        "cancelled",
      );
      assertEquals(error.code, "cancelled");
      assertEquals((await generate(engine, { prompt: prompts[1], maxTokens: 8 })).text, alone[1]);
    }));

  it("computes together what is asked for together, in far fewer steps, to the same bits", () =>
    withEngine({ maxBatch: 16 }, async (engine) => {
      const ask = (i: number) => ({ prompt: `And it came to pass ${i}`, maxTokens: 10, ignoreEos: true, logprobs: 1, speculate: "off" as const });
      const alone: Awaited<ReturnType<typeof generate>>[] = [];
      for (let i = 0; i < 16; i++) alone.push(await generate(engine, ask(i)));
      const before = (await engine.work()).steps;
      assertEquals([before.steps, before.rows], [144, 144]);
      assertEquals(await Promise.all(alone.map((_, i) => generate(engine, ask(i)))), alone);
      const { steps, rows } = (await engine.work()).steps;
      assertEquals(rows - before.rows, 144);
      // How many are run between the layers of prompts depends on what those take: on a busy machine 48 to 54, on one that others load as well 99.
      assert(steps - before.steps < 130, `${steps - before.steps} steps`);
    }));

  it("refuses what it cannot do, by name", async () => {
    await withEngine({ maxTokensTotal: 64 }, async (engine) => {
      await assertRejects(() => generate(engine, { prompt: [] }), LatentmeshError, "empty");
      await assertRejects(() => generate(engine, { prompt: new Array(65).fill(5) }), LatentmeshError, "cache holds 64; the model's context of");
      await assertRejects(() => generate(engine, {}), LatentmeshError, "either prompt or messages");
      assertEquals((await generate(engine, { prompt: new Array(60).fill(5), maxTokens: 100, ignoreEos: true })).tokens.length, 4);
    });
    await assertRejects(() => Engine.load({ model: "/nowhere", device: "wasm" }), LatentmeshError, "no config.json");
    const engine = await Engine.load({ model: fixtureDirectory("deepseek-v3-tiny"), device: "wasm" });
    await engine.close();
    await assertRejects(() => generate(engine, { prompt: [5] }), LatentmeshError, "shutting down");
  });
});
