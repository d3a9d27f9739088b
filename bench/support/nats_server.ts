/**
 * A NATS server with JetStream, on loopback, for tests and benches.
 *
 * @module
 */

/** The program: `TEST_NATS_SERVER`, or where Debian's package has it; null: there is none. */
export const NATS_SERVER: string | null = await found([Deno.env.get("TEST_NATS_SERVER"), "/usr/sbin/nats-server", "/usr/local/bin/nats-server"]);

async function found(paths: readonly (string | undefined)[]): Promise<string | null> {
  for (const path of paths) if (path !== undefined && await Deno.stat(path).then(({ isFile }) => isFile, () => false)) return path;
  return null;
}

/** A running server; another one may take its port when it is gone. */
export class NatsServer implements AsyncDisposable {
  readonly port: number;
  readonly #directory: string;
  readonly #args: readonly string[];
  #child: Deno.ChildProcess | null = null;

  private constructor(port: number, directory: string, args: readonly string[]) {
    this.port = port;
    this.#directory = directory;
    this.#args = args;
  }

  /** @param args further arguments */
  static async start(args: readonly string[] = []): Promise<NatsServer> {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    listener.close();
    const server = new NatsServer(port, await Deno.makeTempDir(), args);
    await server.start();
    return server;
  }

  get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }

  /** Starts it, with nothing stored; resolves when it accepts connections. */
  async start(): Promise<void> {
    const store = await Deno.makeTempDir({ dir: this.#directory });
    const args = ["-a", "127.0.0.1", "-p", String(this.port), "-js", "-sd", store, ...this.#args];
    this.#child = new Deno.Command(NATS_SERVER!, { args, stdout: "null", stderr: "null" }).spawn();
    for (let i = 0; i < 500; i++) {
      try {
        return (await Deno.connect({ hostname: "127.0.0.1", port: this.port })).close();
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
    throw new Error("nats-server does not accept connections");
  }

  /** Has it stand still, with its connections open; or go on. */
  pause(still = true): void {
    this.#child!.kill(still ? "SIGSTOP" : "SIGCONT");
  }

  async kill(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.#child?.status;
    this.#child = null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await Deno.remove(this.#directory, { recursive: true });
  }
}
