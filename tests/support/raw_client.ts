/**
 * Clients that say to a server exactly what a test wants, byte by byte.
 *
 * @module
 */

/** A connection to a server. */
export class RawClient implements Disposable {
  readonly #connection: Deno.TcpConn;
  readonly #decoder = new TextDecoder();
  #text = "";
  #closed = false;

  constructor(connection: Deno.TcpConn) {
    this.#connection = connection;
    connection.setNoDelay();
  }

  static async connect(port: number): Promise<RawClient> {
    return new RawClient(await Deno.connect({ hostname: "127.0.0.1", port }));
  }

  async send(text: string | Uint8Array<ArrayBuffer>): Promise<void> {
    const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
    for (let done = 0; done < bytes.length;) done += await this.#connection.write(bytes.subarray(done));
  }

  /** What has come when it includes `end`. @throws if the connection ends before */
  async until(end: string): Promise<string> {
    while (!this.#text.includes(end)) if (!await this.#read()) throw new Error(`The connection ended: ${JSON.stringify(this.#text)}`);
    const length = this.#text.indexOf(end) + end.length;
    const text = this.#text.slice(0, length);
    this.#text = this.#text.slice(length);
    return text;
  }

  /** Everything until the connection ends. */
  async rest(): Promise<string> {
    while (await this.#read());
    const text = this.#text;
    this.#text = "";
    return text;
  }

  close(): void {
    if (!this.#closed) this.#connection.close();
    this.#closed = true;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #read(): Promise<boolean> {
    const buffer = new Uint8Array(16 << 10);
    const count = await this.#connection.read(buffer).catch(() => null);
    if (count !== null) this.#text += this.#decoder.decode(buffer.subarray(0, count), { stream: true });
    return count !== null;
  }
}
