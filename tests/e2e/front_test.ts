/**
 * Cells and fronts as the processes that they are: three cells, two fronts, NATS as their registry where it is installed, else a directory, and kills.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Fleet } from "../../bench/support/fleet.ts";
import { CAN_LIST_PROCESSES, descendants, runs } from "../../bench/support/processes.ts";
import { Running } from "../../bench/support/running.ts";
import { messageOf } from "../../core/errors.ts";
import { until } from "../../bench/support/until.ts";
import { NATS_SERVER } from "../support/nats_server.ts";

const CHAT = "/v1/chat/completions";

const ask = (url: string, question: string, change: object = {}) =>
  fetch(`${url}${CHAT}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ messages: [{ role: "user", content: question }], temperature: 1, seed: 11, max_tokens: 48, ignore_eos: true, ...change }),
  });

/** The text of a stream, and its error if it ended with one. */
async function read(response: Response, onEvent: () => void = () => {}): Promise<string> {
  let [text, rest] = ["", ""];
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    const events = (rest + piece).split("\n\n");
    rest = events.pop()!;
    for (const event of events) {
      if (event === "data: [DONE]") continue;
      const { choices, error } = JSON.parse(event.slice(6));
      if (error !== undefined) throw new Error(error.message);
      text += choices[0]?.delta.content ?? "";
      if (choices[0]?.delta.content) onEvent();
    }
  }
  return text;
}

describe("cells and fronts", () => {
  let fleet: Fleet;

  beforeAll(async () => {
    fleet = await Fleet.start({ nats: NATS_SERVER !== null, cells: ["one", "two", "three"], fronts: 2, args: ["--single", "--threads", "1"] });
  });
  afterAll(() => fleet[Symbol.asyncDispose]());

  it("lose no stream with a cell that is killed, and each gets what it gets alone", async () => {
    const questions = Array.from({ length: 6 }, (_, i) => `Question ${i}: what is a kettle?`);
    const events = questions.map(() => 0);
    const long = { max_tokens: 200, stream: true };
    const { urls } = fleet;
    const streams = questions.map(async (question, i) => await read(await ask(urls[i % 2], question, long), () => events[i]++));
    await until(() => events.every((count) => count > 0));
    const [{ id }] = (await fleet.cellsOf(urls[0])).filter(({ id }) => id !== "one").toSorted((a, b) =>
      b.requestsOfThisFront - a.requestsOfThisFront
    );
    const killed = fleet.cells.get(id)!;
    const started = CAN_LIST_PROCESSES ? await descendants(killed.child.pid) : [];
    await killed.end("SIGKILL");
    // Its id is free again when its record has stood still for a while.
    fleet.startCell(id);
    const answers = await Promise.all(streams);
    for (const pid of started) await until(async () => !await runs(pid));
    const metrics = await Promise.all(urls.map(async (url) => await (await fetch(`${url}/metrics`)).text()));
    assert(metrics.some((text) => /failovers_total\{outcome="continued"\} [1-9]/.test(text)), "streams went on elsewhere");
    assert(metrics.every((text) => !/failovers_total\{outcome="none"\} [1-9]/.test(text)));
    await fleet.settled();
    assertEquals(answers, await Promise.all(questions.map(async (question, i) => await read(await ask(urls[i % 2], question, long)))));
  });

  it("refuse an id that a cell has which lives", async () => {
    await using twin = new Running(fleet.argumentsOf("one"));
    assertStringIncludes(await twin.url().catch(messageOf), "a cell that lives has this id");
  });

  /** Asks both fronts on and on while something happens. @returns how many requests failed, of how many */
  async function underLoad(happens: () => Promise<void>): Promise<string> {
    let done = false;
    let [asked, failed] = [0, 0];
    const load = [true, false].map(async (stream, i) => {
      for (let n = 0; !done && n < 5000; n++) {
        asked++;
        try {
          const response = await ask(fleet.urls[i], `Question ${i} ${n}`, { stream, max_tokens: 8 });
          const text = stream ? await read(response) : (await response.json()).choices[0].message.content;
          if (text === "") failed++;
        } catch {
          failed++;
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    });
    try {
      await happens();
    } finally {
      done = true;
      await Promise.all(load);
    }
    assert(asked > 4, "there was hardly any load");
    return `${failed} failed`;
  }

  it("fail no request while all cells are drained and started again, one after the other", async () => {
    assertEquals(await underLoad(() => fleet.roll()), "0 failed");
  });

  (NATS_SERVER === null ? it.skip : it)("fail no request while NATS is gone, and when it is back with nothing", async () => {
    await fleet.settled();
    const { nats, urls } = fleet;
    const age = async (url: string) => (await (await fetch(`${url}/cluster`)).json()).front.registryAgeMs as number;
    const failed = await underLoad(async () => {
      await nats!.kill();
      await until(async () => (await Promise.all(urls.map(age))).every((ms) => ms > 1500));
      for (const url of urls) assertEquals((await fleet.cellsOf(url)).length, 3);
      await nats!.start();
      await fleet.beaten();
    });
    assertEquals(failed, "0 failed");
  });

  it("leave nothing on cells when a front is killed, while another one serves", async () => {
    const { urls, fronts } = fleet;
    const events = [0, 0, 0, 0];
    const streams = events.map(async (_, i) => {
      const response = await ask(urls[0], `Long ${i}`, { stream: true, max_tokens: 1500 });
      return await read(response, () => events[i]++).then(() => "whole", () => "broken");
    });
    await until(() => events.every((count) => count > 0));
    await fronts[0].end("SIGKILL");
    assertEquals(await Promise.all(streams), new Array(4).fill("broken"));
    const known = await fleet.cellsOf(urls[1]);
    await until(async () => {
      const statuses = await Promise.all(known.map(async ({ url }) => (await (await fetch(`${url}/cluster`)).json()).scheduling.active));
      return statuses.every((active: number) => active === 0);
    });
    assert((await read(await ask(urls[1], "Still there?", { stream: true }))).length > 0);
  });
});
