/**
 * Gauges that endpoint pickers of the Kubernetes Gateway API inference extension read, under the names and with the meanings of vLLM's, as its model server protocol
 * has them (kubernetes-sigs/gateway-api-inference-extension, docs/proposals/003-model-server-protocol).
 *
 * @module
 */
import { Gauge, type Registry } from "prom-client";
import type { ClusterStatus } from "./cluster_status.ts";

/** Adds the gauges. @param model its name in the API; null where there are several */
export function describeForPickers(registry: Registry, { scheduling, units, decodeBlockTokens }: ClusterStatus, model: string | null): void {
  const labels: Record<string, string> = model === null ? {} : { model_name: model };
  const set = (name: string, help: string, value: number, more: Record<string, string> = {}) => {
    const all = { ...labels, ...more };
    new Gauge({ name: `vllm:${name}`, help, labelNames: Object.keys(all), registers: [registry] }).set(all, value);
  };
  // Sequences are kept where they generate: what a prefill unit holds goes on with the prompt.
  const holders = units.filter(({ role }) => role !== "prefill");
  const [blocks, available] = holders.filter(({ up }) => up).reduce(([all, free], { cache }) => [all + cache.blocks, free + cache.available], [0, 0]);
  // Where there are units and none can be used, there is no room.
  const usage = blocks > 0 ? 1 - available / blocks : holders.length > 0 ? 1 : 0;
  set("num_requests_waiting", "For endpoint pickers: sequences that wait for a place", scheduling.waiting);
  set(
    "num_requests_running",
    "For endpoint pickers: sequences that have a place, of prompts that are computed as well",
    scheduling.active - scheduling.waiting,
  );
  set("kv_cache_usage_perc", "For endpoint pickers: cache blocks in use of all units that decode, from 0 to 1", usage);
  set("cache_config_info", "For endpoint pickers: tokens of a block and blocks of all units that decode, as labels; always 1", 1, {
    block_size: String(decodeBlockTokens),
    num_gpu_blocks: String(blocks),
  });
}
