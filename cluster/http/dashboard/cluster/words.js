// What is said of a cluster, in words.

/** `1.5 MB`, in powers of 1000. @param {number} bytes */
export function bytesText(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
  return power === 0 ? `${Math.round(bytes)} bytes` : `${(bytes / 1000 ** power).toPrecision(3)} ${units[power]}`;
}

/** @param {number} value per second */
export const rateText = (value) => value >= 100 ? Math.round(value).toLocaleString("en") : value.toFixed(1);

/** What units of a role do. */
export const DOES = { prefill: "reads prompts", decode: "writes answers", mixed: "reads and writes" };

/** What a worker is at. @param {{ worker: string | null, stats: object | null }} place @param {boolean} up whether its unit can be used */
export function stateOf({ worker, stats }, up) {
  if (worker === null) return "nobody is there";
  if (!up) return "being linked";
  if (stats === null) return "does not answer";
  return stats.phase === null ? "at rest" : stats.phase === "prefill" ? "reading a prompt" : "writing";
}

/** What a worker computes on, in short. @param {{ kind: string | null, gpu: number | null }} place */
export function deviceOf({ kind, gpu }) {
  if (kind === null) return gpu === null ? "" : `GPU ${gpu}`;
  return kind === "wasm" || kind === "cpu" ? "processor" : gpu === null ? "GPU" : `GPU ${gpu}`;
}

/** The name of a machine. @param {string} host */
export const machine = (host) => host === "local" ? "this server" : host;

/** What epochs are. @param {number} epoch */
export const epochText = (epoch) => `epoch ${epoch}: it goes up whenever the workers of a unit are linked anew, as after one was replaced`;

/** What happened to a unit. @param {{ kind: string, unit: string, rank: number | null, message: string }} incident */
export function incidentText({ kind, unit, rank, message }) {
  const why = message === "" ? "" : `: ${message}`;
  switch (kind) {
    case "lost":
      return `${unit} lost the worker of rank ${rank}${why}`;
    case "failed":
      return `${unit} had to stop${why}`;
    case "restored":
      return `${unit} works again`;
    case "given-up":
      return `${unit} was given up${why}`;
    default:
      return `${unit}: ${kind}${why}`;
  }
}

/** How long ago something was. @param {number} ms */
export function agoText(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  return seconds < 5400
    ? `${Math.round(seconds / 60)} min ago`
    : seconds < 129_600
    ? `${Math.round(seconds / 3600)} h ago`
    : `${Math.round(seconds / 86_400)} days ago`;
}
