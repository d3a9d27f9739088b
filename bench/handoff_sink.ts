/**
 * A decode rank that keeps nothing: it acknowledges what comes over its socket, so that the way there can be timed by itself.
 *
 * @module
 */
import { acceptLink } from "../core/wire/link.ts";
import { parseMessage, type PeerFrame, peerFrameSchema } from "../core/wire/messages.ts";
import { DenoTransport } from "../workers/links/transport.ts";

/** What both sides know. */
export const SECRET: Uint8Array<ArrayBuffer> = new Uint8Array(32).fill(7);

if (import.meta.main) {
  const transport = new DenoTransport();
  await transport.listen(Deno.args[0], async (socket) => {
    const link = await acceptLink(socket, () => SECRET);
    link.listen(({ message, payload }) => {
      const frame = parseMessage(peerFrameSchema, message);
      if (frame.kind !== "latents") return;
      link.send({ kind: "ack", epoch: frame.epoch, sequence: frame.sequence, bytes: payload.byteLength } satisfies PeerFrame);
    });
    link.closed.then(() => Deno.exit(0));
  });
  console.log("listening");
}
