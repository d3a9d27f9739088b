/**
 * What `/metrics` tells as a list for people, from what it would answer.
 *
 * @module
 */
import { ServerMetrics } from "../../../cluster/observe/metrics.ts";
import { newStepTimes } from "../../../core/step_times.ts";

/** Markdown: every metric. */
export async function metricList(): Promise<string> {
  const metrics = new ServerMetrics({
    loading: () => ({ ready: true, loadedBytes: 0, totalBytes: 0 }),
    uncaught: () => 0,
    cluster: () =>
      Promise.resolve({
        summary: "",
        scheduling: { promptTokens: 0, cachedTokens: 0, preemptions: 0, replays: 0, drafted: [], accepted: [], active: 0, waiting: 0, running: 0 },
        steps: newStepTimes(),
        units: [],
      }),
  });
  const { text } = await metrics.expose();
  const kinds = new Map([...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)].map(([, name, kind]) => [name, kind]));
  return [...text.matchAll(/^# HELP (\w+) (.*)$/gm)].map(([, name, help]) => `- \`${name}\` (${kinds.get(name)}): ${help}.`).join("\n");
}
