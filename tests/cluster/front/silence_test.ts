/**
 * Cells that say nothing, with their connections open.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { cellRecord } from "../../../bench/support/cell_records.ts";
import { FrontCells } from "../../../cluster/front/front_cells.ts";
import { LiveAttempts } from "../../../cluster/front/live_attempts.ts";
import { Silence } from "../../../cluster/front/silence.ts";
import { until } from "../../../bench/support/until.ts";
import { CHAT, chat, openFront, ScriptedCell, TestRegistry } from "../../support/cells.ts";

/** Accepts connections, and says nothing until it is told to. */
class SilentCell implements Disposable {
  readonly url: string;
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #connections: Deno.Conn[] = [];
  #speaks = false;

  constructor() {
    this.url = `http://127.0.0.1:${this.#listener.addr.port}`;
    void (async () => {
      for await (const connection of this.#listener) {
        this.#connections.push(connection);
        if (this.#speaks) await this.#answer(connection);
      }
    })();
  }

  get connections(): number {
    return this.#connections.length;
  }

  async speak(): Promise<void> {
    this.#speaks = true;
    for (const connection of this.#connections) await this.#answer(connection).catch(() => {});
  }

  async #answer(connection: Deno.Conn): Promise<void> {
    await connection.write(new TextEncoder().encode("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"));
  }

  [Symbol.dispose](): void {
    this.#listener.close();
    for (const connection of this.#connections) connection.close();
  }
}

const TIMES = { lookMs: 10, silenceMs: 60, answerMs: 1500 };

describe("a cell that is silent", () => {
  it("is asked whether it is there and given up where it does not answer, and gets requests again when it does", async () => {
    using silent = new SilentCell();
    await using other = new ScriptedCell("other", () => Response.json({ choices: [] }));
    const registry = new TestRegistry();
    const beat = (beat: number, change: object = {}) =>
      registry.set([cellRecord({ id: "silent", url: silent.url, beat }), other.record({ beat, ...change })]);
    beat(0, { state: "loading" });
    await using front = await openFront(registry, {}, { times: TIMES });
    const asked = front.post(CHAT, chat());
    await until(() => silent.connections > 0);
    beat(1);
    assertEquals(await (await asked).json(), { choices: [] });
    const { cells } = front.running.context;
    beat(2);
    // That it beats is not enough.
    assertEquals(cells.silent.map(({ id }) => id), ["silent"]);
    beat(3, { state: "loading" });
    assertEquals((await front.app.request("/readyz")).status, 503);
    await silent.speak();
    await until(() => cells.silent.length === 0);
    assertEquals((await front.app.request("/readyz")).status, 200);
  });

  it("is waited for while it computes, if it answers, were it that it takes no connection", async () => {
    const attempts = new LiveAttempts();
    const cells = new FrontCells();
    const cell = cellRecord();
    cells.update([cell]);
    let questions = 0;
    const client = { answers: () => Promise.resolve(++questions > 0) };
    await using _silence = new Silence({ cells, attempts, client }, { lookMs: 1, silenceMs: 5, answerMs: 1000 });
    const { abort, leave } = attempts.begin(cell);
    await until(() => questions > 3);
    assertEquals([abort.signal.aborted, cells.silent.length], [false, 0]);
    leave();
    assertEquals(attempts.size, 0);
  });

  it("is given up without a question where it is registered no longer, or is another process by now", async () => {
    const attempts = new LiveAttempts();
    const cells = new FrontCells();
    const client = { answers: () => Promise.reject(new Error("nobody is to be asked")) };
    await using _silence = new Silence({ cells, attempts, client }, { lookMs: 1, silenceMs: 5, answerMs: 1000 });
    const gone = attempts.begin(cellRecord({ id: "gone" }));
    const other = attempts.begin(cellRecord({ id: "a", instance: "before" }));
    cells.update([cellRecord({ id: "a", instance: "now" })]);
    await until(() => gone.abort.signal.aborted && other.abort.signal.aborted);
  });

  it("is asked once at a time, and what has come meanwhile is not given up", async () => {
    const attempts = new LiveAttempts();
    const cells = new FrontCells();
    const cell = cellRecord();
    cells.update([cell]);
    const answer = Promise.withResolvers<boolean>();
    let questions = 0;
    // What is asked after that has no answer before the end.
    const later = (signal: AbortSignal) => new Promise<boolean>((resolve) => signal.addEventListener("abort", () => resolve(false), { once: true }));
    const client = { answers: (_: unknown, signal: AbortSignal) => questions++ === 0 ? answer.promise : later(signal) };
    await using _silence = new Silence({ cells, attempts, client }, { lookMs: 1, silenceMs: 5, answerMs: 60_000 });
    const [silent, speaking] = [attempts.begin(cell), attempts.begin(cell)];
    await until(() => questions > 0);
    await new Promise((resolve) => setTimeout(resolve, 20));
    assertEquals(questions, 1);
    speaking.heard();
    answer.resolve(false);
    await until(() => silent.abort.signal.aborted);
    assertEquals([speaking.abort.signal.aborted, cells.silent.length], [false, 1]);
    cells.update([cellRecord({ instance: "another" })]);
    assertEquals(cells.silent.length, 0);
  });
});
