import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { streamEvents } from "../../../cluster/http/sse.ts";

describe("an event stream", () => {
  it("ends the request of a client that reads too slowly, and of one that goes away", async () => {
    const endless = async (mostWaiting: number, use: (response: Response) => Promise<void>) => {
      const abort = new AbortController();
      let sent = 0;
      const produced = Promise.withResolvers<void>();
      const response = streamEvents(abort, async (send) => {
        while (!abort.signal.aborted) {
          send(sent++);
          await Promise.resolve();
        }
        produced.resolve();
      }, { mostWaiting });
      await use(response);
      await produced.promise;
      return sent;
    };
    let text = "";
    const sent = await endless(10, async (response) => {
      // The reader comes too late.
      await new Promise((resolve) => setTimeout(resolve, 5));
      text = await response.text();
    });
    assertEquals(sent, 12);
    const events = text.trim().split("\n\n");
    assertEquals([events[0], events[11], events.length], ["data: 0", "data: 11", 14]);
    assertEquals(JSON.parse(events[12].slice(6)).error.message, "The client reads too slowly: 10 events wait for it");
    assertEquals(events[13], "data: [DONE]");
    await endless(1e9, (response) => response.body!.cancel());
  });
});
