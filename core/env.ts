/**
 * Every environment variable the project reads, in one typed table. A value that does not parse is an error, never a silent default.
 *
 * @module
 */
import { DEVICE_CHOICES, type DeviceTuning } from "./device_kind.ts";
import { z } from "zod";
import { LatentmeshError } from "./errors.ts";
import { WIDE_FLAGS } from "./wide_kernels.ts";
import { problemOf } from "./expected.ts";

/** Least characters of keys and tokens. */
export const LEAST_SECRET = 16;

const TABLE = {
  LATENTMESH_MODEL: {
    schema: z.string().min(1).optional(),
    help: "model directory, or name on the hub, when --model is not given",
  },
  LATENTMESH_DEVICE: {
    schema: z.enum(DEVICE_CHOICES).optional(),
    help: "device when --device is not given",
  },
  LATENTMESH_DAWN: {
    schema: z.string().min(1).optional(),
    help: "path of Dawn's index.js (npm package webgpu), for --device auto; --device dawn fetches it (132 MB, once) where this is not set",
  },
  LATENTMESH_DEVICE_TIMES: {
    schema: z.enum(["0", "1"]).optional(),
    help: "1: time every pass on the device, which costs some; /cluster and /metrics tell",
  },
  LATENTMESH_THREADS: {
    schema: z.coerce.number().int().min(1).max(256).optional(),
    help: "threads of a worker on --device wasm when --threads is not given (default: the cores, shared out among the workers of this host)",
  },
  LATENTMESH_WASM_FMA: {
    schema: z.enum(["on", "off"]).optional(),
    help: "off: --device wasm rounds products before it adds them, as every processor can, so that hosts agree to the bit",
  },
  LATENTMESH_WASM_WIDE: {
    schema: z.enum(["on", "off"]).optional(),
    help:
      `off: workers' processes with --device wasm leave V8 as it is, instead of letting it make instructions of eight floats; on: serve --single was started with --v8-flags=${WIDE_FLAGS.join()}, and makes use of them`,
  },
  LATENTMESH_TOKEN: {
    schema: z.string().min(LEAST_SECRET).optional(),
    help: `secret of the cluster, for a worker that joins (at least ${LEAST_SECRET} characters)`,
  },
  LATENTMESH_LOG: {
    schema: z.enum(["debug", "info", "warn", "error", "silent"]).optional(),
    help: "least severe level that is logged (default info)",
  },
  LATENTMESH_LOG_FORMAT: {
    schema: z.enum(["text", "json"]).optional(),
    help: "how logs are written (default text)",
  },
  LATENTMESH_NATS_CREDS: {
    schema: z.string().min(1).optional(),
    help: "file of credentials (JWT and nkey) for a registry at nats://",
  },
  LATENTMESH_NATS_CA: {
    schema: z.string().min(1).optional(),
    help: "PEM certificate of who signed the certificates of NATS' servers; with it, connections are encrypted",
  },
  LATENTMESH_KUBE_ACCOUNT: {
    schema: z.string().min(1).optional(),
    help: "directory with token, ca.crt and namespace of a service account, for --registry kubernetes (default: where pods have theirs)",
  },
  KUBERNETES_SERVICE_HOST: {
    schema: z.string().min(1).optional(),
    help: "host of Kubernetes' API server, for --registry kubernetes; pods have it set",
  },
  KUBERNETES_SERVICE_PORT: {
    schema: z.coerce.number().int().min(1).max(65535).optional(),
    help: "its port (default 443)",
  },
  POD_NAME: {
    schema: z.string().min(1).optional(),
    help: "name of this pod: with POD_UID, what it writes with --registry kubernetes is removed with it",
  },
  POD_UID: {
    schema: z.string().min(1).optional(),
    help: "uid of this pod",
  },
  HF_HOME: {
    schema: z.string().min(1).optional(),
    help: "where what comes from the hub is kept, shared with Python's huggingface_hub (default: huggingface in the user's cache)",
  },
  HF_HUB_CACHE: {
    schema: z.string().min(1).optional(),
    help: "where models from the hub are kept (default: hub in HF_HOME)",
  },
  HF_ENDPOINT: {
    schema: z.url({ protocol: /^https?$/ }).optional(),
    help: "address of the hub (default: https://huggingface.co)",
  },
  HF_TOKEN: {
    schema: z.string().optional(),
    help: "token for private and gated models (default: what the file token in HF_HOME holds, which hf auth login writes)",
  },
  HF_TOKEN_PATH: {
    schema: z.string().min(1).optional(),
    help: "file of that token, if it is another",
  },
  HF_HUB_OFFLINE: {
    schema: z.string().optional(),
    help: "1: models from the hub are taken as the cache has them, and nothing is asked",
  },
} as const;

/** Name of a variable in the table. */
export type EnvName = keyof typeof TABLE;

/** Name and meaning of every variable, for `--help` and docs/configuration.md. */
export const ENV_HELP: readonly { name: EnvName; help: string }[] = (Object.keys(TABLE) as EnvName[]).map((name) => ({
  name,
  help: TABLE[name].help,
}));

/**
 * Reads one variable of the table.
 *
 * @param get looks a variable up; `(name) => Deno.env.get(name)` outside tests
 * @throws {LatentmeshError} `invalid_config` if the value does not parse
 */
export function readEnv<N extends EnvName>(name: N, get: (name: string) => string | undefined): z.infer<(typeof TABLE)[N]["schema"]> {
  const parsed = TABLE[name].schema.safeParse(get(name));
  if (!parsed.success) {
    const problem = problemOf(TABLE[name].schema, parsed.error.issues[0], name === "LATENTMESH_TOKEN" ? undefined : get(name));
    throw new LatentmeshError("invalid_config", `Cannot use environment variable ${name}: ${problem}`, { param: name });
  }
  return parsed.data as z.infer<(typeof TABLE)[N]["schema"]>;
}

/** How devices are to be used, as far as the environment says. @throws {LatentmeshError} `invalid_config` */
export function readTuning(get: (name: string) => string | undefined): DeviceTuning {
  const fma = readEnv("LATENTMESH_WASM_FMA", get);
  const wide = readEnv("LATENTMESH_WASM_WIDE", get);
  return {
    times: readEnv("LATENTMESH_DEVICE_TIMES", get) === "1",
    threads: readEnv("LATENTMESH_THREADS", get),
    fma: fma === undefined || fma === "on" ? undefined : false,
    ...(wide === undefined ? {} : { wide: wide === "on" }),
  };
}

/**
 * Resolves a secret of a configuration: `env:NAME` stands for the variable's value.
 *
 * @param path where it stands in the configuration
 * @throws {LatentmeshError} `invalid_config` if the variable is not set
 */
export function resolveSecret(text: string, path: string, get: (name: string) => string | undefined): string {
  if (!text.startsWith("env:")) return text;
  const value = get(text.slice(4));
  if (value === undefined || value === "") {
    throw new LatentmeshError("invalid_config", `Cannot resolve ${path}: environment variable ${text.slice(4)} is not set`, { param: path });
  }
  return value;
}
