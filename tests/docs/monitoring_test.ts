/**
 * The dashboard and the alerts in `deploy`: their queries can be read, and ask for what cells and fronts tell, with labels that it has. Where there is a promtool
 * (Prometheus', `TEST_PROMTOOL`), it reads the rules as well, and runs them.
 */
import { beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { parse } from "yaml";
import { z } from "zod";
import { withWorkersHere } from "../support/cluster.ts";
import { ROOT } from "../../bench/support/root.ts";
import { kustomize } from "../support/manifests/kustomize.ts";
import { podsOf } from "../support/manifests/pods.ts";
import { examine, type Metric } from "../support/prometheus/promql.ts";
import { cellText, frontText, metricsIn } from "../support/prometheus/told_metrics.ts";

const DASHBOARD = `${ROOT}/deploy/grafana/latentmesh.json`;
const ALERTS = `${ROOT}/deploy/prometheus/alerts.yaml`;

const duration = z.string().regex(/^\d+[smhd]$/);
const ruleFile = z.strictObject({
  groups: z.array(z.strictObject({
    name: z.string(),
    rules: z.array(z.strictObject({
      alert: z.string().regex(/^Latentmesh[A-Z]\w+$/),
      expr: z.string(),
      for: duration.optional(),
      labels: z.strictObject({ severity: z.enum(["warning", "critical"]) }),
      annotations: z.strictObject({ summary: z.string().min(10), description: z.string().min(10) }),
    })),
  })),
});

const scrapeFile = z.strictObject({
  scrape_configs: z.array(z.strictObject({
    job_name: z.string(),
    authorization: z.strictObject({ credentials_file: z.string() }),
    kubernetes_sd_configs: z.tuple([z.strictObject({
      role: z.literal("pod"),
      namespaces: z.strictObject({ names: z.array(z.string()) }),
      selectors: z.tuple([z.strictObject({ role: z.literal("pod"), label: z.string() })]),
    })]),
    relabel_configs: z.tuple([
      z.strictObject({
        source_labels: z.tuple([z.literal("__meta_kubernetes_pod_container_port_name")]),
        regex: z.string(),
        action: z.literal("keep"),
      }),
      z.strictObject({ source_labels: z.tuple([z.literal("__meta_kubernetes_pod_name")]), target_label: z.literal("instance") }),
    ]),
  })),
});

const source = z.strictObject({ type: z.literal("prometheus"), uid: z.literal("${datasource}") });
const place = z.strictObject({ h: z.int().min(1), w: z.int().min(1).max(24), x: z.int().min(0).max(23), y: z.int().min(0) });
const row = z.strictObject({
  id: z.int(),
  type: z.literal("row"),
  title: z.string().min(1),
  collapsed: z.literal(false),
  gridPos: place,
  panels: z.tuple([]),
});
const graph = z.object({
  id: z.int(),
  type: z.enum(["timeseries", "stat"]),
  title: z.string().min(1),
  datasource: source,
  gridPos: place,
  fieldConfig: z.strictObject({ defaults: z.looseObject({ unit: z.string() }), overrides: z.tuple([]) }),
  targets: z.array(z.strictObject({ refId: z.string(), datasource: source, expr: z.string(), legendFormat: z.string().min(1) })).min(1),
});
const dashboard = z.object({
  title: z.string(),
  uid: z.string(),
  schemaVersion: z.int().min(36),
  templating: z.object({ list: z.array(z.object({ name: z.string(), type: z.enum(["datasource", "query"]), query: z.unknown() })) }),
  panels: z.array(z.union([row, graph])),
});

/** What Grafana puts into queries. */
function filledIn(expr: string): string {
  return expr.replaceAll("$__rate_interval", "5m").replaceAll("$__range", "1h").replaceAll("$job", ".*").replaceAll("$instance", ".*");
}

const PROMTOOL = await found(Deno.env.get("TEST_PROMTOOL") ?? "promtool");

async function found(program: string): Promise<string | null> {
  try {
    return (await new Deno.Command(program, { args: ["--version"], stdout: "null", stderr: "null" }).output()).success ? program : null;
  } catch {
    return null;
  }
}

async function promtool(...args: string[]): Promise<void> {
  const { success, stdout, stderr } = await new Deno.Command(PROMTOOL!, { args }).output();
  assert(success, new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr));
}

describe("what watches fronts and cells", () => {
  let metrics: Map<string, Metric>;
  beforeAll(() =>
    withWorkersHere({ decode: { ranks: 2 } }, async (cluster) => {
      metrics = new Map([...metricsIn(await cellText(cluster)), ...metricsIn(await frontText())]);
    })
  );

  it("is asked in a language that is read to its end", () => {
    const told = new Map<string, Metric>([
      ["a_total", { kind: "counter", labels: new Set(["job", "x"]) }],
      ["b_bucket", { kind: "counter", labels: new Set(["job", "le"]) }],
      ["c", { kind: "gauge", labels: new Set(["job", "y"]) }],
    ]);
    const problem = (query: string) => examine(query, told).problems.join("; ");
    for (
      const [query, expected] of [
        ["sum(", "cannot be read"],
        ["d", "no metric d"],
        ['c{x="1"}', "no label x"],
        ["sum by (x) (c)", "grouped by x"],
        ["rate(c[5m])", "is of counters"],
        ["a_total > 1", "not how it grows"],
        ["histogram_quantile(0.9, sum by (job) (rate(b_bucket[5m])))", "needs buckets"],
        ["sum by (job) (c) / sum by (job, x) (rate(a_total[5m]))", "have other labels"],
        ["sum by (job) (c) / on (x) sum by (job) (c)", "has no x"],
      ]
    ) assertStringIncludes(problem(query), expected);
    const quantile = examine('histogram_quantile(0.9, sum by (job, le) (rate(b_bucket{job=~".*"}[5m]))) > 3', told);
    assertEquals([quantile.problems, [...quantile.labels!]], [[], ["job"]]);
    assertEquals([...examine("max without (y) (c)", told).labels!], ["job"]);
  });

  it("alerts by what is told, and names labels that are there", async () => {
    const { groups } = ruleFile.parse(parse(await Deno.readTextFile(ALERTS)));
    const rules = groups.flatMap(({ rules }) => rules);
    assertEquals(new Set(rules.map(({ alert }) => alert)).size, rules.length);
    for (const { alert, expr, annotations } of rules) {
      const { problems, labels } = examine(expr, metrics);
      assertEquals(problems, [], alert);
      for (const text of Object.values(annotations)) {
        for (const [, label] of text.matchAll(/\$labels\.(\w+)/g)) assert(labels!.has(label), `${alert}: its results have no label ${label}`);
        const rest = text.replaceAll(/\{\{ \$(labels\.\w+|value( \| (humanize|humanizeDuration|humanizePercentage))?) \}\}/g, "");
        assert(!rest.includes("{{") && !rest.includes("$"), `${alert}: ${text}`);
      }
    }
  });

  it("scrapes the pods of deploy/kubernetes at the ports that they name, under the names that alerts count on", async () => {
    const { scrape_configs } = scrapeFile.parse(parse(await Deno.readTextFile(`${ROOT}/deploy/prometheus/scrape.yaml`)));
    const pods = podsOf(await kustomize(`${ROOT}/deploy/kubernetes/base`));
    const jobs = scrape_configs.map(({ job_name, kubernetes_sd_configs: [{ namespaces: { names }, selectors: [{ label }] }], relabel_configs }) => {
      const labels = Object.fromEntries(label.split(",").map((part) => part.split("=")));
      const [pod, ...others] = pods.filter((pod) => Object.entries(labels).every(([name, value]) => pod.labels[name] === value));
      assertEquals([pod.name, names, others], [job_name, ["latentmesh"], []]);
      assert(pod.container.ports!.some(({ name }) => name === relabel_configs[0].regex));
      return job_name;
    });
    for (const [, job] of (await Deno.readTextFile(ALERTS)).matchAll(/job="([^"]+)"/g)) assert(jobs.includes(job), job);
  });

  it("draws what is told, with labels that are there, in panels that do not overlap", async () => {
    const { panels, templating } = dashboard.parse(JSON.parse(await Deno.readTextFile(DASHBOARD)));
    assertEquals(templating.list.map(({ name }) => name), ["datasource", "job", "instance"]);
    for (const { query } of templating.list.slice(1)) {
      for (const [name] of JSON.stringify(query).matchAll(/latentmesh_\w+/g)) assert(metrics.has(name), name);
    }
    assertEquals(new Set(panels.map(({ id }) => id)).size, panels.length);
    const taken = new Set<string>();
    for (const panel of panels) {
      const { h, w, x, y } = panel.gridPos;
      assert(x + w <= 24, panel.title);
      for (let i = 0; i < h * w; i++) {
        const at = `${x + i % w} ${y + Math.floor(i / w)}`;
        assert(!taken.has(at), `${panel.title} is over another panel`);
        taken.add(at);
      }
      if (panel.type === "row") continue;
      assertEquals(panel.targets.map(({ refId }) => refId), panel.targets.map((_, i) => String.fromCharCode(65 + i)));
      for (const { expr, legendFormat } of panel.targets) {
        const { problems, labels } = examine(filledIn(expr), metrics);
        assertEquals(problems, [], panel.title);
        assert(expr.includes('{job=~"$job",instance=~"$instance"'), `${panel.title}: ${expr}`);
        for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) {
          assert(labels!.has(label), `${panel.title}: its lines have no label ${label}`);
        }
      }
    }
  });

  it("has a counter from the beginning for what must be noticed the first time it happens", async () => {
    // Of one that appears with its first count, nothing has grown.
    const { FrontMetrics } = await import("../../cluster/front/front_metrics.ts");
    const { FrontCells } = await import("../../cluster/front/front_cells.ts");
    const { text } = await new FrontMetrics().expose(new FrontCells(), 0);
    for (const outcome of ["continued", "none"]) assertStringIncludes(text, `latentmesh_front_failovers_total{outcome="${outcome}"} 0`);
  });

  (PROMTOOL === null ? it.skip : it)("has rules that Prometheus takes, and that fire when they should", async () => {
    await promtool("check", "rules", ALERTS);
    const directory = await Deno.makeTempDir();
    try {
      await Deno.copyFile(ALERTS, `${directory}/alerts.yaml`);
      await Deno.copyFile(`${ROOT}/tests/support/prometheus/fired.yaml`, `${directory}/fired.yaml`);
      await promtool("test", "rules", `${directory}/fired.yaml`);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
});
