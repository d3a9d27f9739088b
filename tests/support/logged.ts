/**
 * What is logged while something happens.
 *
 * @module
 */
import { configureSync, resetSync } from "@logtape/logtape";

/** @returns lines, each behind its level */
export async function logged(work: () => Promise<void>): Promise<string[]> {
  const lines: string[] = [];
  configureSync({
    reset: true,
    sinks: { lines: ({ level, message }) => void lines.push(`${level} ${message.map(String).join("")}`) },
    loggers: [
      { category: ["latentmesh"], sinks: ["lines"], lowestLevel: "debug" },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: null },
    ],
  });
  try {
    await work();
  } finally {
    resetSync();
  }
  return lines;
}
