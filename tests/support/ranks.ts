/**
 * Ranks of one process that meet over sockets, for tests of exchanges between them.
 *
 * @module
 */
import { acceptLink } from "../../core/wire/link.ts";
import type { Peer } from "../../core/wire/messages.ts";
import { type Listener, sumsAddress } from "../../core/wire/transport.ts";
import type { Collective } from "../../workers/collective/collective.ts";
import { DenoTransport } from "../../workers/links/transport.ts";
import { Membership } from "../../workers/process/membership.ts";
import type { ExchangeOptions } from "../../workers/process/unit_epoch.ts";

const transport = new DenoTransport();

/** How ranks exchange. */
type Way = "websocket" | "websocket in a thread" | "shared-memory" | "auto";

interface RanksOptions extends Partial<Omit<ExchangeOptions, "exchange">> {
  readonly way: Way;
}

/** Ranks of one process that meet over sockets. */
export class Ranks {
  readonly members: Membership[] = [];
  readonly broken: string[] = [];
  readonly #listeners: Listener[] = [];
  readonly #directory: string;
  #epoch = 0;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /** @param unable a rank that cannot share memory, or have a thread of its own */
  static async open(ranks: number, { way, ...options }: RanksOptions, unable?: number): Promise<Ranks> {
    const group = new Ranks(await Deno.makeTempDir());
    for (let rank = 0; rank < ranks; rank++) {
      const identity = { worker: `r${rank}`, role: "decode" as const, rank, ranks };
      const exchange = way === "websocket in a thread" ? "websocket" : way;
      const listen = `unix:${group.#directory}/${rank}`;
      const threaded = way === "websocket in a thread" && rank !== unable;
      const membership = new Membership(
        identity,
        transport,
        {
          wire: "f32",
          exchange,
          deadlineMs: 5000,
          lanes: 1,
          sumValues: 1 << 20,
          memoryObstacle: rank === unable ? "no room" : undefined,
          sumThread: threaded ? { listen: sumsAddress(listen), advertise: (address) => address, tls: {}, spare: rank % 2 === 0 } : null,
          ...options,
        },
        () => {},
        (worker, reason) => {
          group.broken.push(`${worker}: ${reason.message}`);
        },
      );
      group.members.push(membership);
      const listener = await transport.listen(listen, async (socket) => {
        membership.accept(await acceptLink(socket, (peer) => membership.secretOf(peer)));
      });
      group.#listeners.push(listener);
    }
    return group;
  }

  /** Begins an epoch and links everybody. */
  async join(): Promise<Collective[]> {
    const epoch = ++this.#epoch;
    const secret = crypto.getRandomValues(new Uint8Array(32));
    const peers = this.#listeners.map(({ address }, rank): Peer => ({ worker: `r${rank}`, rank, address, secret }));
    for (const [rank, member] of this.members.entries()) member.join({ epoch, peers: peers.filter((peer) => peer.rank !== rank) });
    return await Promise.all(this.members.map(async (member) => (await member.connect())[0]));
  }

  async close(): Promise<void> {
    for (const member of this.members) member.leave();
    for (const listener of this.#listeners) await listener.close();
    await Deno.remove(this.#directory, { recursive: true });
  }
}
