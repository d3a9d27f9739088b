/**
 * `deno task bench <name>`: runs one bench and prints its table with the command that repeats it.
 *
 * @module
 */
import { LatentmeshError } from "../core/errors.ts";
import { attentionBench } from "./attention_bench.ts";
import { CHAOS_HELP, chaosBench } from "./chaos_bench.ts";
import { CELLS_HELP, cellsBench } from "./cells_bench.ts";
import { FLEET_HELP, fleetBench } from "./fleet_bench.ts";
import { collectiveBench } from "./collective_bench.ts";
import { besideBench } from "./beside_bench.ts";
import { bodiesBench } from "./bodies_bench.ts";
import { batchBench } from "./batch_bench.ts";
import { cpuBench } from "./cpu_bench.ts";
import { clusterBench } from "./cluster_bench.ts";
import { handoffBench } from "./handoff_bench.ts";
import { handoffPartsBench } from "./handoff_parts_bench.ts";
import { GGUF_HELP, ggufBench } from "./gguf_bench.ts";
import { grammarBench } from "./grammar_bench.ts";
import { decodeBench } from "./decode_bench.ts";
import { matmulBench } from "./matmul_bench.ts";
import { linearBench } from "./linear_bench.ts";
import { indexerBench } from "./indexer_bench.ts";
import { loadBench } from "./load_bench.ts";
import { report } from "./report.ts";
import { pingPongBench } from "./pingpong_bench.ts";
import { prefillBench } from "./prefill_bench.ts";
import { readbackBench } from "./readback_bench.ts";
import { rooflineBench } from "./roofline_bench.ts";
import { speculationBench } from "./speculation_bench.ts";
import { serveBench } from "./serve_bench.ts";
import { soakBench } from "./soak_bench.ts";
import { startBench } from "./start_bench.ts";
import { WHOLE_HELP } from "./whole/options.ts";
import { wholeBench } from "./whole_bench.ts";

const BENCHES: Readonly<Record<string, { readonly help: string; run(args: readonly string[]): Promise<void> }>> = {
  load: {
    help:
      "[gigabytes] [--device dawn --processes 1,3 --staging mapped,written --blocks 16x6,4x16] [--directory DIR] loading a generated checkpoint: peak host memory; with a device, start to ready",
    run: loadBench,
  },
  serve: {
    help: "[device] [rates] [requests] [directory] latency and goodput against request rate, as JSON and as a page with plots",
    run: serveBench,
  },
  soak: {
    help: "[kills] [streams] [ranks=2|mixed|mixed,mixed] 256 streams, clients that disconnect, workers that are killed: every answer checked",
    run: soakBench,
  },
  chaos: { help: CHAOS_HELP, run: chaosBench },
  fleet: { help: FLEET_HELP, run: fleetBench },
  cells: { help: CELLS_HELP, run: cellsBench },
  start: { help: "[runs] process start to first token of the embedded model on the CPU", run: startBench },
  decode: { help: "[device] decode speed of the embedded model, beside a bare matrix-vector loop; dispatches per layer", run: decodeBench },
  cpu: {
    help:
      "[--only kernels,tiny,threads,large,gguf,serve,many] [--directory DIR] [--experts 8] [--sizes tiny|v2-lite, of many] a machine without a GPU: the embedded model, one of V2-Lite's sizes and its GGUF files on wasm, with llama.cpp beside it where BENCH_LLAMA says that node-llama-cpp is",
    run: cpuBench,
  },
  gguf: { help: GGUF_HELP, run: ggufBench },
  collective: { help: "[device] [gpus] all-reduce between two processes beside a bare socket exchange; from device to device", run: collectiveBench },
  readback: {
    help: "[--device dawn] [--kernels 1,4,8,16] [--steps 300] [--rows 1024] what a device has computed, in the ways to wait for it",
    run: readbackBench,
  },
  handoff: {
    help: "[runs] [device] [model] [tokens] [gpus] first and second tokens of a cluster beside one process, and how much of the transfer is hidden",
    run: handoffBench,
  },
  "handoff-parts": {
    help:
      "[--device dawn] [--shape v2-lite] [--layers N] [--weights keep] [--tokens 1024] [--ranks 2] what computing, reading back, sending and taking in take",
    run: handoffPartsBench,
  },
  batch: {
    help: "[device] [ranks] [batches] [ping-pong] throughput against batch size through the server; CPU time of the coordinator",
    run: batchBench,
  },
  beside: {
    help:
      "[--device dawn] [--model synthetic:v2-lite] [--weights keep] [--streams 16] [--context 1024] [--prompt 16384] [--runs 3] [--max-step-ms X] over HTTP, a long prompt beside running streams on one mixed worker: the longest gap of a stream, its first token against alone; streams at once against one after the other",
    run: besideBench,
  },
  bodies: {
    help:
      "[--device auto] [--streams 16] [--context 1540] [--tokens 150] [--requests 20] [--bytes 1500000] [--runs 5] over HTTP, large requests at once beside running streams of the embedded model: the longest gap of a stream, with and without them",
    run: bodiesBench,
  },
  indexer: {
    help:
      "[--device dawn] [--shape v3.2] [--batch 16] [--context 4096,32768,131072] [--index-cache f16|f32|fp8] what sparse attention does before it attends, kernel by kernel",
    run: indexerBench,
  },
  roofline: {
    help:
      "[--device deno] [--shape v2-lite] [--layers N] [--weights keep] [--batch 1] [--context 1024] [--cache-dtype f16|f32|q8] [--json FILE --card NAME] where a decode step's time goes",
    run: rooflineBench,
  },
  attention: {
    help:
      "[--device dawn] [--shape v2-lite] [--batch 16] [--context 32768,…] [--cache-dtype f16|f32|q8] [--only CASE] [--spread 2] [--divisions 1,1,4,16,2;…] [--json FILE --card NAME] decode attention: tpla against mla",
    run: attentionBench,
  },
  linear: {
    help:
      '[--device dawn] [--shape v2-lite] [--weights bf16,q4,int4,int4-128,int4-128-zeros] [--rows 1,2,4,8,16,32,64] [--only "experts up,…"] [--divisions "rows 4;128,8,4,1,2/4;units 4,1,4,16,64,2;…"] the quickest way to multiply several rows by each layer; [--write] measures only what is tried on matrix units, and writes the table that decode goes by',
    run: linearBench,
  },
  grammar: { help: "how long tools and schemas are waited for over 128k tokens, and a step of 64 answers for its masks", run: grammarBench },
  matmul: { help: "[--device dawn] [--size 4096] the linear layer of prefill in every weight format", run: matmulBench },
  prefill: {
    help:
      "[--device dawn] [--shape v2-lite] [--layers N] [--weights keep] [--tokens 1024,4096,32768] [--sizes 512x512,auto] [--after 4096,28672] [--divisions 4,2,2,32;…] [--only prompts,kernels,attention] prompts in chunks x windows, where the time of a chunk goes that begins after so many tokens, and its attention",
    run: prefillBench,
  },
  report: { help: "[data] [figures] draws the documents' figures from what was measured", run: report },
  pingpong: { help: "[device] [batch] [latencies] halves of a step side by side, against the latency of links", run: pingPongBench },
  whole: { help: WHOLE_HELP, run: wholeBench },
  speculation: {
    help:
      "[--device dawn] [--model DIR|synthetic:v2-lite] [--weights keep] [--topology single|mixed|ranks=2] [--attention tpla|mla|dcp] [--gpus 0,1] [--streams 1,4] [--tokens 256] [--runs 3] [--speculate auto|ngram|mtp] [--only TEXT;…] over HTTP, tokens a second with guessed tokens against without, of text that repeats and text that does not",
    run: speculationBench,
  },
  cluster: { help: "[ranks] [device] [gpus] decode speed of a cluster with its time split; how long a killed rank is missed", run: clusterBench },
};

/** What is printed instead of running a bench; null where one is to run. */
export function usage(name: string | undefined, args: readonly string[]): string | null {
  if (name === undefined || !Object.hasOwn(BENCHES, name)) {
    const unknown = name === undefined || name.startsWith("-") ? "" : `There is no bench "${name}". `;
    return `${unknown}Usage: deno task bench <name>\n${Object.entries(BENCHES).map(([name, { help }]) => `  ${name.padEnd(15)}${help}`).join("\n")}`;
  }
  return args.includes("--help") || args.includes("-h") ? `Usage: deno task bench ${name} ${BENCHES[name].help}` : null;
}

/** What is said to whoever runs a bench of what cannot be done; null for faults of ours, whose place is wanted. */
export function sentenceOf(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  if (error instanceof LatentmeshError) return error.code === "internal" ? null : error.message;
  const ofFlags = "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS");
  return ofFlags || error.constructor === Error ? error.message : null;
}

if (import.meta.main) {
  const [name, ...args] = Deno.args;
  const text = usage(name, args);
  if (text === null) {
    try {
      await BENCHES[name].run(args);
    } catch (error) {
      const said = sentenceOf(error);
      if (said === null) throw error;
      console.error(`error: ${said}\n(deno task bench ${name} --help lists what can be given)`);
      Deno.exit(1);
    }
    console.log(`\nRepeat with: deno task bench ${Deno.args.join(" ")}`);
  } else {
    console.log(text);
    Deno.exit(name === undefined || ["--help", "-h"].includes(name) || Object.hasOwn(BENCHES, name) ? 0 : 1);
  }
}
