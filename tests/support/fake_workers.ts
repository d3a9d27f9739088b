/**
 * Workers without processes, devices or models: they join a real coordinator over sockets in memory and answer at once, unless a test says otherwise. What they
 * generate is known, so that a stream that was patched together can be told from a right one.
 *
 * @module
 */
import { RunningCluster } from "../../cluster/cluster.ts";
import { clusterServices } from "../../cluster/compose.ts";
import { Coordinator } from "../../cluster/fleet/coordinator.ts";
import type { OnLoading } from "../../cluster/fleet/unit_host.ts";
import { loadClusterModel } from "../../cluster/fleet/load_model.ts";
import type { ClusterServices } from "../../cluster/planning/services.ts";
import { resolveSettings } from "../../cluster/config/settings.ts";
import type { Config } from "../../cluster/config/config.ts";
import { MOST_CANDIDATES } from "../../core/sampling/candidates.ts";
import { connectLink, type Link } from "../../core/wire/link.ts";
import type { Hello, Notice, Request } from "../../core/wire/messages.ts";
import { decodePrompt, decodeStep, encodeAnswers, type QueryFrame } from "../../core/wire/queries.ts";
import { type Answer, type OnProgress, serveRequests } from "../../core/wire/rpc.ts";
import { newStepParts } from "../../core/step_times.ts";
import { fixtureDirectory } from "./checkpoints.ts";
import { MemoryTransport } from "./memory_transport.ts";

/** Tokens of tiny-mla. */
const VOCABULARY = 8192;

/** The token that every worker finds best at a position. */
export function tokenAt(position: number): number {
  return (position * 7919 + 13) % VOCABULARY;
}

/** What a test does to a worker. */
export interface FakeWorker {
  /** Name of its place and incarnation, such as `decode-0.1/2`. */
  readonly name: string;
  readonly place: string;
  /** Requests that it was sent, by kind, in order. */
  readonly asked: Request["kind"][];
  /** Ends its process, as SIGKILL would. */
  kill(): void;
  /** Tells its coordinator something without being asked. */
  say(notice: Notice): void;
}

/** Answers instead of a worker; undefined: it answers as usual. */
export type Script = (worker: FakeWorker, request: Request, onProgress: OnProgress, usual: () => Promise<Answer>) => Promise<Answer> | undefined;

/** A coordinator with workers of a test. */
export interface FakeCluster extends AsyncDisposable {
  readonly coordinator: Coordinator;
  /** All workers that were ever started, in order. */
  readonly workers: readonly FakeWorker[];
  /** The one that is in a place now. */
  worker(place: string): FakeWorker;
}

/** A cluster with workers of a test. */
export interface FakeServer extends Omit<FakeCluster, "coordinator"> {
  readonly cluster: RunningCluster;
}

/** Services with such workers. @param hashes what workers say of their files @param device and of their device */
export function fakeServices(
  script: Script,
  workers: FakeWorker[],
  hashes: { readonly model: string; readonly basis: string | null },
  device: Hello["device"] = { kind: "cpu", description: "a test", maxBindingBytes: 2 ** 32 },
): ClusterServices {
  const transport = new MemoryTransport();
  return {
    ...clusterServices,
    transport: () => transport,
    spawn: ({ bootstrap }) => {
      const { worker: name, coordinator, token } = bootstrap as unknown as { worker: string; coordinator: string; token: string };
      const ended = Promise.withResolvers<{ code: number; lastLines: string }>();
      let link: Link | null = null;
      const end = (code: number, lastLines = "") => {
        link?.close();
        ended.resolve({ code, lastLines });
      };
      const worker: FakeWorker = { name, place: name.split("/")[0], asked: [], kill: () => end(137), say: (notice) => link!.send(notice) };
      workers.push(worker);
      void (async () => {
        try {
          link = await connectLink(await transport.connect(coordinator), { worker: name, role: "worker" }, Uint8Array.fromHex(token));
          link.closed.then((reason) => end(reason.code === "unauthorized" ? 3 : 0, reason.message));
          serveRequests(link, (request, payload, onProgress) => {
            worker.asked.push(request.kind);
            return script(worker, request, onProgress, () => usualAnswer(worker, request, payload)) ?? usualAnswer(worker, request, payload);
          });
          link.send({ kind: "hello", host: "local", pid: 1, address: `unix:${name}`, device, modelHash: hashes.model, basisHash: hashes.basis });
        } catch (error) {
          end(1, String(error));
        }
      })();
      return { ended: ended.promise, kill: () => end(137) };
    },
  };
}

/** Starts a cluster of such workers. */
export async function startFakeCluster(config: Config, script: Script = () => undefined, onLoading?: OnLoading): Promise<FakeCluster> {
  const settings = resolveSettings({}, { model: fixtureDirectory("tiny-mla"), device: "cpu", ...config }, () => undefined);
  const model = await loadClusterModel(settings, clusterServices);
  const workers: FakeWorker[] = [];
  const coordinator = await Coordinator.start(settings, model, fakeServices(script, workers, model.hashes), onLoading);
  return {
    coordinator,
    workers,
    worker: (place) => workers.findLast((worker) => worker.place === place)!,
    [Symbol.asyncDispose]: () => coordinator.close(),
  };
}

/** The same with all that serves requests on it. */
export async function launchFakeCluster(config: Config, script: Script = () => undefined, device?: Hello["device"]): Promise<FakeServer> {
  const settings = resolveSettings(
    {},
    { model: fixtureDirectory("tiny-mla"), device: "cpu", cache: { maxTokens: 4096 }, ...config },
    () => undefined,
  );
  const { hashes } = await loadClusterModel(settings, clusterServices);
  const workers: FakeWorker[] = [];
  const cluster = await RunningCluster.launch(settings, fakeServices(script, workers, hashes, device));
  return {
    cluster,
    workers,
    worker: (place) => workers.findLast((worker) => worker.place === place)!,
    [Symbol.asyncDispose]: () => cluster.close(),
  };
}

function usualAnswer({ place }: FakeWorker, request: Request, payload: Uint8Array<ArrayBuffer>): Promise<Answer> {
  switch (request.kind) {
    case "assign":
      return Promise.resolve({ kind: "assigned", weightBytes: 1, cacheBytesPerToken: 1, times: {} });
    case "connect":
      return Promise.resolve({ kind: "connected", by: "memory", notShared: null, notThreaded: null });
    case "prefill":
      return candidates(decodePrompt(payload, request.layers.first === 0 ? request.tokens : 0, request.asks).queries, place);
    case "step":
      return candidates(decodeStep(payload, request.rows, request.asks).queries, place);
    case "draft":
      return candidates(decodeStep(payload, request.rows, request.rows).queries, place);
    case "stats":
      return Promise.resolve({ kind: "stats", stats: NOTHING });
    case "row":
      throw new Error("a fake worker has no logits");
    default:
      return Promise.resolve({ kind: "done" });
  }
}

const NOTHING = {
  collectives: 0,
  exchangeMs: 0,
  computeMs: 0,
  sentBytes: 0,
  receivedBytes: 0,
  handoffBytes: 0,
  handoffFrameBytes: 0,
  handoffBusyMs: 0,
  handoffStallMs: 0,
  freeBlocks: 0,
  sequences: 0,
  cacheBytesPerToken: 0,
  weightBytes: 0,
  phase: null,
  parts: { prefill: newStepParts(), decode: newStepParts() },
};

/** Every rank finds the same tokens best: those that it does not hold count for nothing more, since lists are joined by logit. */
function candidates(queries: readonly QueryFrame[], _place: string): Promise<Answer> {
  const answers = queries.map(({ position, plain, adjusted }) => {
    const list = (count: number) => {
      if (count === 0) return null;
      const tokens = Array.from({ length: Math.min(count, MOST_CANDIDATES) }, (_, k) => (tokenAt(position) + k) % VOCABULARY);
      const best = { drawnToken: tokens[0], drawnScore: 1, targetLogit: 0 };
      return { logSumExp: 10, temperedLogSumExp: 10, ...best, tokens, logits: tokens.map((_, k) => 9 - k) };
    };
    return { plain: list(plain), adjusted: list(adjusted) };
  });
  return Promise.resolve({ kind: "candidates", sums: 0, payload: encodeAnswers({ answers, prompt: [] }, { totalMs: 1, waitsMs: [] }) });
}
