/**
 * How `--help` groups flags, for those who look for one.
 *
 * @module
 */
import { type Command, Option } from "commander";

/** Headings, and the flags below each, in the order in which they are shown. */
export const FLAG_GROUPS: Readonly<Record<string, readonly string[]>> = {
  Everyday: ["config", "model", "weights", "device", "gpus", "single", "host", "port", "api-key", "model-name", "help"],
  Cluster: ["mixed", "ranks", "groups", "prefill-workers", "prefill-ranks", "exchange", "feed-forward", "ping-pong", "listen", "strict"],
  Fronts: ["registry", "advertise-url", "cell-id", "front-key"],
  TPLA: ["attention", "latent-groups", "basis", "lambda", "halo", "mu", "paper"],
  Limits: [
    "max-batch",
    "speculate",
    "max-step-ms",
    "max-tokens-total",
    "cache-memory",
    "cache-dtype",
    "index-cache",
    "prefill-chunk",
    "prefill-window",
    "threads",
    "shutdown-timeout",
    "allowed-origin",
    "insecure",
  ],
};

const HEADINGS = Object.keys(FLAG_GROUPS).map((heading) => `${heading}:`);

/** Puts the flags that a command has by now under their headings. What only this command has comes first, under none of them. */
export function groupFlags(command: Command): Command {
  const help = new Option("-h, --help", "display help for command");
  for (const option of [...command.options, help]) {
    const heading = Object.entries(FLAG_GROUPS).find(([, flags]) => flags.includes(option.name()))?.[0];
    if (heading !== undefined) option.helpGroup(`${heading}:`);
  }
  return command.addHelpOption(help).configureHelp({
    groupItems<T extends Command | Option>(_: T[], visible: T[], groupOf: (item: T) => string) {
      const rank = (item: T) => [HEADINGS.indexOf(groupOf(item)), item instanceof Option ? placeOf(item) : 0];
      const sorted = visible.toSorted((a, b) => rank(a)[0] - rank(b)[0] || rank(a)[1] - rank(b)[1]);
      return Map.groupBy(sorted, groupOf);
    },
  });
}

function placeOf(option: Option): number {
  return Object.values(FLAG_GROUPS).flat().indexOf(option.name());
}
