/**
 * The cluster file as a type.
 *
 * @module
 */
import type { Speculation } from "../../core/speculation/speculation.ts";

/** What is served and how it is computed, of one model. */
export interface ModelConfig {
  /** Model directory in Hugging Face form; or `org/name[@revision]`, fetched from the hub (`org/name:Q4_K_M` for one of its GGUF files); or `synthetic:NAME`, random weights to measure with. */
  model?: string;
  /** Device of every worker; `auto` takes a hardware GPU if there is one, else the CPU. */
  device?: "auto" | "deno" | "dawn" | "wasm" | "cpu";
  /** Threads of a worker on device wasm; by default the cores, shared out among the workers of a host. */
  threads?: number;
  /** What is done to the linear weights of the layers. */
  weights?: "keep" | "q8" | "q4";
  /** Decode groups. */
  decode?: DecodeConfig;
  /** Prefill units. */
  prefill?: {
    /** Prefill units; by default 1, or as many as decode groups leave places of `cluster.hosts` free. */
    workers?: number;
    /** Workers of a unit; heads are split among them. */
    ranks?: number;
    /** Prompt tokens computed at a time; by default 64 on the CPU, and 512 to 4096 on GPUs, by their memory. */
    chunk?: number;
    /** Positions whose keys and values are expanded at a time; by default 512 to 4096, by a GPU's memory. */
    window?: number;
    /** Prompt tokens whose latents a prefill unit keeps; by default as many as a decode group. */
    cacheTokens?: number;
  };
  /** Units that compute prompts and generate; instead of decode groups and prefill units. */
  mixed?: {
    /** Mixed units, one of each GPU in turn; 0: none. */
    workers?: number;
    /** Workers of a unit; heads are split among them. */
    ranks?: number;
    /**
     * Most milliseconds between two tokens of a running stream while prompts are computed beside it, as far as the smallest chunks allow; by default about three of its
     * steps, or twice what a chunk takes without tokens.
     */
    maxStepMs?: number;
  };
  /** The latent cache. */
  cache?: {
    /** Tokens of a block. */
    blockTokens?: 64;
    /** How much the cache takes of what devices have left beside weights; instead of `maxTokens`. */
    memory?: number;
    /** Tokens all sequences of a group together may hold. */
    maxTokens?: number;
    /** Precision of cached latents; f32 on the CPU and f16 on GPUs by default; `q8`: eight bits a value, and a scale for up to 128 of them. */
    dtype?: "f16" | "f32" | "q8";
    /** Precision of cached index keys (sparse attention); as latents, or f16 where those are `q8`, by default; `fp8`: eight bits a value, and a scale for a key. */
    indexDtype?: "f16" | "f32" | "fp8";
  };
}

/** One of several models. */
export interface NamedModelConfig extends ModelConfig {
  /** This host's GPUs that its workers get in turn; by default those of `cluster.hosts`. */
  gpus?: number[];
  /** Seconds without a request after which it is unloaded; by default `server.idleSeconds`. */
  idleSeconds?: number;
  /** Load it at the start, and never unload it. */
  keepLoaded?: boolean;
}

/** The cluster file. Whatever is left out has a default; `deno task config-schema` describes every key. */
export interface Config extends ModelConfig {
  /** Where editors find the JSON Schema of the file; nothing else reads it. */
  $schema?: string;
  /** Several models by their names in the API, each loaded when it is asked for; what is beside them holds for all that do not say otherwise. */
  models?: Record<string, NamedModelConfig>;
  /** HTTP. */
  server?: {
    /** Address to listen on. */
    host?: string;
    /** Port to listen on; 0 takes a free one. */
    port?: number;
    /** Name of the model in the API. */
    modelName?: string;
    /** Names under which clients may ask; by default those of loopback where it listens there, else any. */
    allowedHosts?: string[];
    /** Origins of web pages that may ask (CORS); by default none. */
    allowedOrigins?: string[];
    /** Largest request body. */
    maxBodyBytes?: number;
    /** What one API key may do; more is refused with 429. */
    limits?: {
      /** Requests at a time. */
      concurrent?: number;
      /** Requests in a minute. */
      requestsPerMinute?: number;
    };
    /** Connections; who asks nothing makes room for others. */
    connections?: {
      /** At a time; by default 4096, or what the limit of open files leaves. */
      total?: number;
      /** Of one address; by default half of all. */
      perAddress?: number;
    };
    /** Requests that may wait for a place; more are refused with 429. */
    maxWaiting?: number;
    /** The same of each API key; by default half of all where there are several keys. */
    maxWaitingPerKey?: number;
    /** Seconds that running requests get to finish on SIGTERM or SIGINT. */
    shutdownTimeout?: number;
    /** Of several models, most that are loaded at a time; by default as many as memory allows. */
    maxLoaded?: number;
    /** Of several models, seconds without a request after which one is unloaded. */
    idleSeconds?: number;
    /** Keys that clients must present: `env:NAME` (separated by commas) or a list. */
    apiKeys?: string | string[];
  };
  /** Where workers are and how they join. */
  cluster?: {
    /** Secret shared with workers of other hosts: `env:NAME`. */
    token?: string;
    /** `host:port` where they join. */
    listen?: string;
    /** PEM files for links between hosts. */
    tls?: {
      /** Shown by this host. */
      cert?: string;
      /** Its key. */
      key?: string;
      /** Who signed the other hosts' certificates. */
      ca?: string;
    } | null;
    /** Allow links between hosts without TLS. */
    insecure?: boolean;
    /** End when a unit cannot be kept up, instead of going on with the others. */
    strict?: boolean;
    /** Machines and their GPUs. */
    hosts?: HostConfig[];
  };
  /** One cell of several behind fronts. */
  cell?: {
    /** Where it says that it is there: `file:DIRECTORY`. */
    registry?: string;
    /** Address at which fronts reach it. */
    advertiseUrl?: string;
    /** Names it; by default made of that address. */
    id?: string;
    /** Secret that fronts show: `env:NAME`. */
    frontKey?: string;
  };
}

/** Decode groups of the cluster file. */
export interface DecodeConfig {
  /** Workers of a group. */
  ranks?: number;
  /** Slices of the latent; divides ranks. By default as many as ranks, and 1 for `mla` and `dcp`. */
  latentGroups?: number;
  /**
   * `tpla`: every rank caches a slice of the latent; `mla`: heads are split, latents whole, and it is exact; `dcp`: every rank caches the latents of some tokens, and it
   * is exact, too.
   */
  attention?: "tpla" | "mla" | "dcp";
  /** Basis of the latent for `tpla`. */
  basis?: "identity" | "hadamard" | "pca" | "balanced";
  /** Weight of the values in the `balanced` basis. */
  lambda?: number;
  /** Latent directions that every rank keeps as keys; `auto`: an eighth of the latent. */
  halo?: "auto" | number;
  /** What the latent part of scores is multiplied by. */
  mu?: number;
  /** The TPLA paper's scheme, for comparison. */
  paper?: boolean;
  /** Precision of activations between ranks. */
  wire?: "f32" | "f16";
  /** How ranks give each other their parts of sums; `auto`: through shared memory where all ranks of a group are on one host that has it. */
  exchange?: "auto" | "shared-memory" | "websocket";
  /** Whether ranks share feed-forward blocks, or each has them whole and sums half as often; `auto`: whole where it fits and pays. */
  feedForward?: "auto" | "sharded" | "replicated";
  /** Milliseconds of silence after which a rank ends the step. */
  deadlineMs?: number;
  /** Device of every worker; `auto` takes a hardware GPU if there is one, else the CPU. */
  device?: "auto" | "deno" | "dawn" | "wasm" | "cpu";
  /** Decode groups. */
  groups?: number;
  /** Run halves of a step side by side: one computes while the other's sum is on the wire; takes working memory twice. */
  pingPong?: boolean;
  /** Whether steps verify several tokens at a time, guessed from what followed the same ones before, which changes none of them. */
  speculate?: Speculation;
  /** Sequences that a group decodes together. */
  maxBatch?: number;
}

/** A machine of the cluster file. */
export interface HostConfig {
  /** Its name. */
  name: string;
  /** GPUs to use, one worker each in turn; without it, whichever the driver prefers. */
  gpus?: number[];
  /** Its workers are started there, with `deno task worker --join`. */
  join?: boolean;
  /** What its workers may be for; without it, anything. */
  roles?: ("decode" | "prefill" | "mixed")[];
}
