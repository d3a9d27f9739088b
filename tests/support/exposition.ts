/**
 * What a server tells Prometheus, read from the text (exposition format 0.0.4).
 *
 * @module
 */
import { assert } from "@std/assert";

/** One line. */
export interface Sample {
  /** As it is asked for: of histograms, with `_bucket`, `_sum` or `_count`. */
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** A metric. */
export interface MetricFamily {
  readonly kind: string;
  readonly help: string;
  readonly samples: Sample[];
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LINE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;

/** Metrics by name. @throws if a line is no part of the format, or belongs to no metric that was announced */
export function readExposition(text: string): Map<string, MetricFamily> {
  const families = new Map<string, MetricFamily>();
  const helps = new Map<string, string>();
  for (const line of text.split("\n")) {
    if (line.trim() === "") continue;
    const [, comment, name, rest] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (comment === "HELP") helps.set(name, rest);
    else if (comment === "TYPE") {
      assert(NAME.test(name) && !families.has(name), `${name} is announced twice, or is no name`);
      families.set(name, { kind: rest, help: helps.get(name) ?? "", samples: [] });
    } else {
      const [, sample, labels = "", value] = LINE.exec(line) ?? [];
      assert(sample !== undefined, `this is no sample: ${line}`);
      const family = families.get(sample) ?? families.get(sample.replace(/_(bucket|sum|count)$/, ""));
      assert(family !== undefined, `${sample} was not announced`);
      family.samples.push({ name: sample, labels: readLabels(labels), value: value === "+Inf" ? Infinity : Number(value) });
    }
  }
  return families;
}

function readLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  const rest = text.replaceAll(/([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)",?/g, (_, name, value) => {
    labels[name] = value;
    return "";
  });
  assert(rest === "", `these are no labels: ${text}`);
  return labels;
}
