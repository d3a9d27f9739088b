/**
 * Queries in PromQL: whether they can be read, whether they ask for metrics and labels that there are, and which labels their results have. The grammar is Prometheus'
 * own (`@prometheus-io/lezer-promql`).
 *
 * @module
 */
import { parser } from "npm:@prometheus-io/lezer-promql@0.315.0";

/** A metric that can be asked for: of histograms, one for each of `_bucket`, `_sum` and `_count`. */
export interface Metric {
  readonly kind: "counter" | "gauge";
  readonly labels: ReadonlySet<string>;
}

/** What has come of looking at a query. */
export interface Examined {
  readonly problems: readonly string[];
  /** Labels of its results; null: any, as of no metric. */
  readonly labels: ReadonlySet<string> | null;
  /** What it asks for. */
  readonly metrics: ReadonlySet<string>;
}

type Node = ReturnType<typeof parser.parse>["topNode"];

/** Functions of how a counter grows. */
const OF_COUNTERS = new Set(["rate", "irate", "increase"]);

/** Looks at a query. @param metrics by name, with the labels that Prometheus adds */
export function examine(query: string, metrics: ReadonlyMap<string, Metric>): Examined {
  const problems: string[] = [];
  const tree = parser.parse(query);
  tree.iterate({ enter: ({ type, from }) => void (type.isError && problems.push(`it cannot be read at ${from}: ${query.slice(from, from + 20)}`)) });
  const asked = new Set<string>();
  if (problems.length > 0) return { problems, labels: null, metrics: asked };
  const textOf = ({ from, to }: Node) => query.slice(from, to);
  const all = (node: Node | null, name: string) => node === null ? [] : descendants(node).filter((one) => one.name === name);

  const selected = (node: Node): ReadonlySet<string> => {
    const name = textOf(node.getChild("Identifier")!);
    asked.add(name);
    const metric = metrics.get(name);
    if (metric === undefined) {
      problems.push(`there is no metric ${name}`);
      return new Set();
    }
    for (const matcher of all(node, "LabelName")) {
      if (!metric.labels.has(textOf(matcher))) problems.push(`${name} has no label ${textOf(matcher)}`);
    }
    return metric.labels;
  };

  const labelsOf = (node: Node): ReadonlySet<string> | null => {
    const inner = () => node.firstChild === null ? null : childrenOf(node).map(labelsOf).find((labels) => labels !== null) ?? null;
    switch (node.name) {
      case "VectorSelector":
        return selected(node);
      case "NumberDurationLiteral":
      case "StringLiteral":
        return null;
      case "AggregateExpr": {
        const body = childrenOf(node.getChild("FunctionCallBody")!).map(labelsOf).find((labels) => labels !== null) ?? null;
        const modifier = node.getChild("AggregateModifier");
        const named = all(modifier, "LabelName").map(textOf);
        for (const label of named) {
          if (body !== null && !body.has(label)) problems.push(`what is grouped by ${label} has no such label: ${textOf(node)}`);
        }
        if (modifier?.getChild("Without")) return new Set([...body ?? []].filter((label) => !named.includes(label)));
        return new Set(named);
      }
      case "FunctionCall": {
        const called = textOf(node.getChild("FunctionIdentifier")!);
        const body = node.getChild("FunctionCallBody")!;
        const labels = childrenOf(body).map(labelsOf).find((labels) => labels !== null) ?? null;
        for (const selector of all(body, "VectorSelector")) {
          const kind = metrics.get(textOf(selector.getChild("Identifier")!))?.kind;
          if (OF_COUNTERS.has(called) && kind === "gauge") problems.push(`${called} is of counters, and ${textOf(selector)} is none`);
        }
        if (called !== "histogram_quantile") return labels;
        if (labels !== null && !labels.has("le")) problems.push(`histogram_quantile needs buckets (le): ${textOf(node)}`);
        return new Set([...labels ?? []].filter((label) => label !== "le"));
      }
      case "BinaryExpr": {
        const sides = childrenOf(node).filter(({ name }) => /Expr$|Selector$|Call$|Literal$/.test(name)).map(labelsOf);
        const [left, right] = sides;
        const matching = node.getChild("MatchingModifierClause");
        const on = matching?.getChild("On") ? all(matching.getChild("GroupingLabels"), "LabelName").map(textOf) : null;
        for (const label of on ?? []) {
          for (const side of sides) if (side !== null && !side.has(label)) problems.push(`a side of ${textOf(node)} has no ${label}`);
        }
        if (left === null || right === null) return left ?? right;
        if (on === null && !sameSet(left, right)) problems.push(`the sides of ${textOf(node)} have other labels: ${[...left]}, ${[...right]}`);
        return left;
      }
      default:
        return inner();
    }
  };

  const labels = labelsOf(tree.topNode);
  for (const counter of asked) {
    // Of a counter, only its growth says anything.
    const isGrown = new RegExp(`(?:${[...OF_COUNTERS].join("|")})\\(${counter}\\b`).test(query);
    if (metrics.get(counter)?.kind === "counter" && !isGrown) problems.push(`the count ${counter} is asked for, and not how it grows`);
  }
  return { problems, labels, metrics: asked };
}

function childrenOf(node: Node): Node[] {
  const children: Node[] = [];
  for (let child = node.firstChild; child !== null; child = child.nextSibling) children.push(child);
  return children;
}

function descendants(node: Node): Node[] {
  return childrenOf(node).flatMap((child) => [child, ...descendants(child)]);
}

function sameSet(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && [...a].every((label) => b.has(label));
}
