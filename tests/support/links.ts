/**
 * Links in memory.
 *
 * @module
 */
import { Link } from "../../core/wire/link.ts";
import type { Socket } from "../../core/wire/transport.ts";

/** Two ends of a connection, each of which knows the other by the name given for it. @param delayMs until a frame arrives */
export function linked(delayMs = 0, names: readonly [string, string] = ["w0", "w1"]): [Link, Link] {
  const ends = [0, 1].map((): Socket => ({ binaryType: "", onmessage: null, onclose: null, onerror: null, send() {}, close() {} }));
  ends.forEach((end, i) => {
    end.send = (data) => {
      const copy = data.slice();
      setTimeout(() => ends[1 - i].onmessage?.({ data: copy }), delayMs);
    };
    end.close = (code = 1000, reason = "") => void setTimeout(() => ends[1 - i].onclose?.({ code, reason }), delayMs);
  });
  const [a, b] = ends.map((end, i) => new Link(end, { worker: names[i], role: "worker" }));
  return [a, b];
}
