/**
 * What cells and fronts tell Prometheus, from what they print when everything that they count has happened once.
 *
 * @module
 */
import type { RunningCluster } from "../../../cluster/cluster.ts";
import { FrontCells } from "../../../cluster/front/front_cells.ts";
import { FrontMetrics } from "../../../cluster/front/front_metrics.ts";
import { ServerMetrics } from "../../../cluster/observe/metrics.ts";
import { type CellRecord, REGISTRY_PROTOCOL } from "../../../core/registry/cell_record.ts";
import { readExposition } from "../exposition.ts";
import type { Metric } from "./promql.ts";

/** Labels that Prometheus adds. */
const ADDED = ["job", "instance"];

/** Text of a cell's `/metrics`. */
export async function cellText(cluster: RunningCluster): Promise<string> {
  const loading = () => ({ ready: true, loadedBytes: 1, totalBytes: 1 });
  const metrics = new ServerMetrics({ loading, uncaught: () => 0, cluster: () => cluster.describe(), model: () => "a model" });
  const told = metrics.begin();
  told.token(null);
  told.token(0.01);
  told.end({ promptTokens: 1, cachedTokens: 1, generatedTokens: 2, timeToFirstToken: 0.1, seconds: 0.2, reason: "stop" });
  return (await metrics.expose()).text;
}

/** Text of a front's `/metrics`. */
export async function frontText(): Promise<string> {
  const metrics = new FrontMetrics();
  metrics.answered("/v1/completions", 200);
  metrics.prepared(0.001);
  metrics.routed("rendezvous", 0.0001);
  metrics.cellFailed("a", "unreachable");
  metrics.failedOver("none");
  const cells = new FrontCells();
  cells.update([RECORD]);
  return (await metrics.expose(cells, 100)).text;
}

const RECORD: CellRecord = {
  protocol: REGISTRY_PROTOCOL,
  id: "a",
  incarnation: 1,
  instance: "an instance",
  beat: 0,
  url: "http://127.0.0.1:1",
  version: "0",
  model: "a model",
  created: 1,
  maxContext: 64,
  weights: null,
  fingerprint: null,
  state: "ready",
  load: { running: 1, waiting: 0 },
  spilled: [],
};

/** What can be asked for of a text. */
export function metricsIn(text: string): Map<string, Metric> {
  const metrics = new Map<string, Metric>();
  for (const { kind, samples } of readExposition(text).values()) {
    for (const { name, labels } of samples) {
      metrics.set(name, {
        // Parts of histograms are counted.
        kind: kind === "gauge" ? "gauge" : "counter",
        labels: new Set([...Object.keys(labels), ...ADDED, ...metrics.get(name)?.labels ?? []]),
      });
    }
  }
  // Prometheus' own.
  metrics.set("up", { kind: "gauge", labels: new Set(ADDED) });
  return metrics;
}
