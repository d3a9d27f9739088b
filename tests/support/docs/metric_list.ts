/**
 * What `/metrics` tells as a list for people, from what it would answer.
 *
 * @module
 */
import { noCluster } from "../../../cluster/observe/cluster_status.ts";
import { ServerMetrics } from "../../../cluster/observe/metrics.ts";

/** Markdown: every metric. */
export async function metricList(): Promise<string> {
  const metrics = new ServerMetrics({
    loading: () => ({ ready: true, loadedBytes: 0, totalBytes: 0 }),
    uncaught: () => 0,
    cluster: () => Promise.resolve(noCluster("")),
  });
  const { text } = await metrics.expose();
  const kinds = new Map([...text.matchAll(/^# TYPE ([\w:]+) (\w+)$/gm)].map(([, name, kind]) => [name, kind]));
  return [...text.matchAll(/^# HELP ([\w:]+) (.*)$/gm)].map(([, name, help]) => `- \`${name}\` (${kinds.get(name)}): ${help}.`).join("\n");
}
