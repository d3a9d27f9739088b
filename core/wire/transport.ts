/**
 * How sockets are opened, as the wire sees it. The implementation, which does I/O, is `workers/links/transport.ts`.
 *
 * @module
 */

/** The part of a WebSocket that links use; Deno's own and that of `ws` have it. */
export interface Socket {
  /** Where it comes from, for people; missing where that is this host. */
  readonly from?: string;
  binaryType: string;
  onmessage: ((event: { readonly data: unknown }) => void) | null;
  onclose: ((event: { readonly code: number; readonly reason: string }) => void) | null;
  /** Told why the socket is about to end, where that is known. */
  onerror: ((event: unknown) => void) | null;
  send(data: Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
  /** The other side has proved who it is: it may send what strangers may not. Missing where nobody is a stranger. */
  trust?(): void;
}

/** Certificates of links between hosts, in PEM. */
export interface TlsFiles {
  /** What this side shows when it accepts. */
  readonly cert?: string;
  readonly key?: string;
  /** Who signed the other side's, where no public authority did. */
  readonly ca?: string;
}

/** An open listener. */
export interface Listener {
  /** Where it is reached: `unix:/path`, `ws://host:port` or `wss://host:port`. */
  readonly address: string;
  close(): Promise<void>;
}

/** Where a worker's thread of sums listens, beside the worker itself: another file, or any other port. */
export function sumsAddress(address: string): string {
  return address.startsWith("unix:") ? `${address}.sums` : address.replace(/:\d+$/, ":0");
}

/** Opens sockets. */
export interface Transport {
  /** What another thread opens sockets like these with; null: it cannot. */
  readonly elsewhere: TlsFiles | null;
  /**
   * @param onSocket settles when the socket has authenticated or been turned away; only so many may be undecided at a time
   * @throws {LatentmeshError} `invalid_config` if the address cannot be listened on
   */
  listen(address: string, onSocket: (socket: Socket) => Promise<void>): Promise<Listener>;
  /** Resolves when the socket is open. @throws {LatentmeshError} `worker_lost` */
  connect(address: string): Promise<Socket>;
}
