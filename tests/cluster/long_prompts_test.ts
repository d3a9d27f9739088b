/**
 * Prompts as long as a model allows: in every topology, and where they do not fit, refused before anything is computed.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../core/errors.ts";
import type { Request } from "../../core/wire/messages.ts";
import { type Config, Engine, type RunningCluster } from "../../mod.ts";
import { withWorkersHere } from "../support/cluster.ts";
import { launchFakeCluster, tokenAt } from "../support/fake_workers.ts";
import { generate } from "../support/generation.ts";
import { openApp } from "../../bench/support/server.ts";
import { ODD_CONFIG, writeRandomCheckpoint } from "../support/random_checkpoint.ts";

const CONTEXT = 1024;
/** Many small layers. */
const MANY_LAYERS: typeof ODD_CONFIG = {
  ...ODD_CONFIG,
  hidden_size: 16,
  num_hidden_layers: 24,
  num_attention_heads: 2,
  kv_lora_rank: 8,
  q_lora_rank: null,
  qk_nope_head_dim: 4,
  qk_rope_head_dim: 4,
  v_head_dim: 4,
  intermediate_size: 16,
  moe_intermediate_size: 8,
  n_routed_experts: 4,
  n_group: 2,
  topk_group: 1,
  num_experts_per_tok: 2,
  n_shared_experts: 1,
  max_position_embeddings: CONTEXT,
};

const tokens = (count: number, vocabulary: number) => Array.from({ length: count }, (_, i) => 3 + i * 7919 % (vocabulary - 3));

describe("a prompt as long as the model allows", () => {
  it("is answered in one process and by every kind of cluster, with the same tokens where attention is exact", async () => {
    const model = await writeRandomCheckpoint(MANY_LAYERS);
    try {
      const ask = { prompt: tokens(CONTEXT - 3, 301), maxTokens: 3, ignoreEos: true };
      const beyond = { ...ask, prompt: tokens(CONTEXT + 1, 301) };
      const check = async (engine: Pick<RunningCluster, "generate">) => {
        const answer = (await generate(engine, ask)).tokens;
        const error = await assertRejects(() => generate(engine, beyond), LatentmeshError, `this model's context holds ${CONTEXT}`);
        assertEquals(error.code, "invalid_request");
        return answer;
      };
      const engine = await Engine.load({ model, device: "wasm" });
      const expected = await check(engine);
      assertEquals(expected.length, 3);
      await engine.close();
      const groups: NonNullable<Config["decode"]>[] = [
        { ranks: 1, attention: "mla" },
        { ranks: 2, attention: "mla" },
        { ranks: 1, attention: "tpla", basis: "identity" },
        { ranks: 2, attention: "tpla", basis: "identity" },
      ];
      for (const decode of groups) {
        await withWorkersHere({ model, decode, prefill: { chunk: 256 } }, async (cluster) => {
          const answer = await check(cluster);
          if (decode.attention === "mla" || decode.ranks === 1) assertEquals(answer, expected);
          else assertEquals(answer.length, 3);
        });
      }
    } finally {
      await Deno.remove(model, { recursive: true });
    }
  });

  it("is refused where the cache is smaller, by what would make it fit", async () => {
    const model = await writeRandomCheckpoint({ ...MANY_LAYERS, num_hidden_layers: 2 });
    try {
      const check = async (name: string, engine: Pick<RunningCluster, "generate" | "served">) => {
        const prompt = tokens(500, 301);
        await assertRejects(() => generate(engine, { prompt }), LatentmeshError, "cache holds 256");
        await using opened = await openApp(engine.served);
        const post = async (body: object) => {
          const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
          const response = await opened.app.request("/v1/completions", init);
          return { status: response.status, body: await response.json() };
        };
        const refused = await post({ prompt, max_tokens: 20 });
        assertEquals([refused.status, refused.body.error.code], [400, "context_length_exceeded"], name);
        assert(refused.body.error.message.includes("start it with --max-tokens-total 520"), refused.body.error.message);
        assertEquals((await post({ prompt: prompt.slice(0, 200), max_tokens: 1 })).status, 200, name);
      };
      const engine = await Engine.load({ model, device: "wasm", maxTokensTotal: 256 });
      await check("one process", engine).finally(() => engine.close());
      for (const scheme of [{ attention: "mla" }, { attention: "tpla", basis: "identity" }] as const) {
        const config = { model, cache: { maxTokens: 256 }, decode: { ranks: 2, ...scheme } };
        await withWorkersHere(config, (cluster) => check(scheme.attention, cluster));
      }
    } finally {
      await Deno.remove(model, { recursive: true });
    }
  });
});

describe("requests of the largest sizes", () => {
  for (const [context, choices] of [[163_840, 64], [2 ** 18, 4]] as const) {
    it(`go through HTTP, scheduler and wire: ${context} tokens, ${choices} choices`, async () => {
      const model = await writeRandomCheckpoint({ ...MANY_LAYERS, num_hidden_layers: 2, vocab_size: 8192, max_position_embeddings: context });
      const asked: Request[] = [];
      const server = await launchFakeCluster({
        model,
        decode: { ranks: 1, attention: "mla", maxBatch: 64 },
        prefill: { chunk: 8192 },
        cache: { maxTokens: context + 64 * 128 },
      }, (_, request) => void asked.push(request));
      try {
        await using http = await openApp(server.cluster.served, { maxBodyBytes: undefined });
        const prompt = tokens(context - 3, 8192);
        const body = JSON.stringify({ prompt, max_tokens: 3, n: choices, temperature: 0, ignore_eos: true, return_token_ids: true });
        const response = await http.app.request("/v1/completions", { method: "POST", headers: { "content-type": "application/json" }, body });
        const answer = await response.json();
        assertEquals(response.status, 200, JSON.stringify(answer).slice(0, 300));
        assertEquals(answer.usage.prompt_tokens, context - 3);
        const expected = [context - 3, context - 2, context - 1].map(tokenAt);
        assertEquals(answer.choices.map(({ token_ids }: { token_ids: number[] }) => token_ids), new Array(choices).fill(expected));
        const opened = asked.filter((request) => request.kind === "open");
        assertEquals(opened.map(({ blocks }) => blocks.length), [context / 64]);
        const forks = asked.flatMap((request) => request.kind === "step" ? request.forks : []);
        assertEquals(forks.length, choices - 1);
        // What they share, the ranks know.
        assert(forks.every(({ blocks }) => blocks.length === 1));
        server.cluster.checkIntegrity();
      } finally {
        await server[Symbol.asyncDispose]();
        await Deno.remove(model, { recursive: true });
      }
    });
  }
});
