/**
 * The chat of the page at `/` in a real browser. Skipped, by name, where there is no Chromium.
 */
import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { answerNext, answers, ARTEFACTS, ask, assertAccessible, describePage, ended, nextAsked, streamed, withPage } from "../support/browser.ts";

/** Bytes that the page may cost, packed as browsers ask for it. */
const MOST_BYTES = 250_000;

const MARKDOWN = `Some **bold** text, \`code\` and <img src=x onerror=alert(1)>.

# A heading

1. one
2. two

| a | b |
|---|---|
| 1 | 2 |

\`\`\`python
def kettle(): # boils
    return "tea"
\`\`\`

[good](https://example.org) [bad](javascript:alert(1)) ![picture](https://example.org/x.png)`;

describePage("the dashboard's chat", (inBrowser, running) => {
  inBrowser(
    "chats by keyboard, says how fast and whether it was cut, stops, answers again, edits, goes on, and remembers",
    () =>
      withPage(running.server, running.browser, { viewport: { width: 1280, height: 860 }, colorScheme: "light" }, async (page) => {
        assertEquals(await page.title(), "Latentmesh");
        assertEquals(await page.locator("#mesh .card").count(), 3);
        await assertAccessible(page, "at the beginning");
        // What answers are asked for with.
        await page.locator("#open-settings").click();
        await page.locator("[name=temperature]").fill("9");
        await page.locator("#about-temperature", { hasText: "Must be a number from 0 to 2." }).waitFor();
        await assertAccessible(page, "the settings");
        await page.keyboard.press("Escape");
        assertEquals(await page.locator("#changed").innerText(), "1 !");
        // Nothing is asked as if they were not set, and the question stays.
        await ask(page, "Not yet");
        await page.locator("#notice", { hasText: "Temperature must be a number from 0 to 2" }).waitFor();
        assertEquals([await page.locator("#turns li").count(), await page.locator("#message").inputValue()], [0, "Not yet"]);
        await page.locator("#message").fill("");
        await page.locator("#open-settings").click();
        await page.locator("[name=temperature]").fill("0");
        await page.keyboard.press("Escape");
        await page.locator("#message").focus();
        await page.keyboard.type("What is a kettle?");
        await page.keyboard.press("Shift+Enter");
        await page.keyboard.type("Tell me.");
        await page.keyboard.press("Tab");
        assertEquals(await page.evaluate("[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]"), ["send", "solid"]);
        await page.keyboard.press("Shift+Tab");
        const first = nextAsked(page);
        await page.keyboard.press("Enter");
        const { messages, temperature, max_tokens } = await first;
        assertEquals([messages, temperature, max_tokens], [[{ role: "user", content: "What is a kettle?\nTell me." }], 0, undefined]);
        // Whoever writes the next message meanwhile is not disturbed.
        await page.keyboard.type("next");
        await ended(page);
        assertEquals(await page.evaluate("document.activeElement.id + document.activeElement.value"), "messagenext");
        await page.locator(".speed", { hasText: /^\d+ tokens?( · [\d.]+ tokens\/s)? · first token after \d.*s$/ }).waitFor();
        assertEquals(await page.locator(".cut:visible").count(), 0);
        await page.locator("#charts output", { hasText: / ms|\d s/ }).first().waitFor();
        await page.screenshot({ path: `${ARTEFACTS}/dashboard-light.png` });
        // An answer that was cut says so, beside the one before, and can go on.
        await page.locator("#open-settings").click();
        await page.locator("[name=max_tokens]").fill("2");
        await page.keyboard.press("Escape");
        await page.getByRole("button", { name: "Answer again" }).click();
        await page.locator(".cut", { hasText: "no more tokens were allowed" }).waitFor();
        assertEquals([await answers(page).count(), await page.locator(".versions:visible").innerText()], [1, "‹\n2 of 2\n›"]);
        await ended(page);
        const going = nextAsked(page);
        await page.getByRole("button", { name: "Continue" }).click();
        const { messages: sofar, continue_final_message } = await going;
        assertEquals([sofar.length, continue_final_message], [2, true]);
        await page.locator(".speed", { hasText: /^4 tokens/ }).waitFor();
        await ended(page);
        // Another question in the place of the first.
        await page.getByRole("button", { name: "Edit" }).click();
        await page.locator(".edit textarea").fill("What is a cup?");
        const edited = nextAsked(page);
        await page.keyboard.press("Enter");
        assertEquals((await edited).messages, [{ role: "user", content: "What is a cup?" }]);
        await ended(page);
        // One that would not end by itself is stopped by a key.
        await page.locator("#open-settings").click();
        await page.locator("[name=max_tokens]").fill("2000");
        await page.keyboard.press("Escape");
        await page.route(
          "**/chat/completions",
          (route) => route.continue({ postData: JSON.stringify({ ...route.request().postDataJSON(), ignore_eos: true }) }),
          { times: 1 },
        );
        await ask(page, "Tell me everything");
        await answers(page).last().locator(".text", { hasText: /\w/ }).waitFor();
        await page.keyboard.press("Escape");
        await page.locator(".cut", { hasText: "Stopped" }).waitFor();
        // All of it is there after a reload, and the settings are.
        const before = await page.locator("#turns").innerText();
        await page.reload();
        await page.locator("#mesh svg").waitFor();
        assertEquals(await page.locator("#turns").innerText(), before);
        assertEquals(await page.locator("#changed").innerText(), "2");
      }),
  );

  inBrowser(
    "leaves nothing of an answer behind that was deleted while it came, nor of one that failed",
    () =>
      withPage(running.server, running.browser, { viewport: { width: 1280, height: 860 } }, async (page) => {
        page.on("dialog", (dialog) => dialog.accept());
        const kept = () => page.evaluate(`Object.keys(localStorage).filter((key) => key.includes("conversation")).length`);
        // Comes for as long as the test wants it to.
        await page.route("**/chat/completions", () => {}, { times: 2 });
        for (const [end, left] of [["fresh", 1], ["delete", 1]] as const) {
          await ask(page, `Tell me everything, then ${end}`);
          await page.locator("#stop:visible").waitFor();
          if (end === "fresh") await page.locator("#fresh").click();
          else {
            await page.locator("#open-history").click();
            await page.getByRole("button", { name: /^Delete .*then delete/ }).click();
            await page.keyboard.press("Escape");
          }
          await ended(page);
          assertEquals([await page.locator("#turns li").count(), await kept()], [0, left], end);
        }
        await page.route(
          "**/chat/completions",
          (route) => route.fulfill({ status: 200, contentType: "text/event-stream", body: `data: {"error":{"message":"It is away."}}\n\n` }),
          {
            times: 1,
          },
        );
        await ask(page, "first");
        await page.locator("li.error", { hasText: "It is away." }).waitFor();
        await answerNext(page, streamed({ content: "Yes." }));
        const messages = nextAsked(page);
        await ask(page, "second");
        assertEquals((await messages).messages, [{ role: "user", content: "second" }]);
        await ended(page);
        assertEquals(await kept(), 2);
        // Conversations can be taken along, and brought back.
        await page.locator("#open-history").click();
        await assertAccessible(page, "the conversations");
        const [download] = await Promise.all([page.waitForEvent("download"), page.locator("#export-all").click()]);
        const file = await download.path();
        await page.locator("#delete-all").click();
        assertEquals([await kept(), await page.locator("#turns li").count()], [0, 0]);
        await page.locator("#import-file").setInputFiles(file);
        await page.locator("#history-list .choose", { hasText: "first" }).click();
        assertEquals(await answers(page).last().locator(".text").innerText(), "Yes.");
        await page.locator("#open-history").click();
        await page.locator("#import-file").setInputFiles({
          name: "x.json",
          mimeType: "application/json",
          buffer: Buffer.from("{}"),
        });
        await page.locator("#history-problem", { hasText: "no file of conversations" }).waitFor();
      }),
  );

  inBrowser(
    "leaves an answer alone whose conversation is chosen while it comes, shows one that is imported over it, and says when none can go on",
    () =>
      withPage(running.server, running.browser, { viewport: { width: 1280, height: 860 } }, async (page) => {
        // Answers come as the test wants them to.
        await page.evaluate(`(() => {
          const { fetch } = globalThis;
          const answer = (signal) => new Response(new ReadableStream({ start(controller) {
            globalThis.coming = controller;
            signal.addEventListener("abort", () => controller.error(signal.reason));
          } }));
          globalThis.fetch = async (path, options) => {
            if (!path.endsWith("completions")) return fetch(path, options);
            if (globalThis.away) throw new TypeError("Failed to fetch");
            return answer(options.signal);
          };
        })()`);
        const comes = (delta: object, finish_reason: string | null = null) => {
          const event = `data: ${JSON.stringify({ choices: [{ delta, finish_reason }] })}\n\n`;
          return page.evaluate(`coming.enqueue(new TextEncoder().encode(${JSON.stringify(event)}))`);
        };
        const text = answers(page).last().locator(".text");
        await ask(page, "first");
        await page.waitForFunction("globalThis.coming !== undefined");
        await page.locator("#open-history").click();
        const [download] = await Promise.all([page.waitForEvent("download"), page.locator("#export-all").click()]);
        await comes({ content: "One" });
        await text.filter({ hasText: "One" }).waitFor();
        await page.locator("#history-list .choose", { hasText: "first" }).click();
        await comes({ content: " two" });
        await text.filter({ hasText: "One two" }).waitFor();
        assertEquals(await page.locator("#stop:visible").count(), 1);
        await page.locator("#open-history").click();
        await page.locator("#import-file").setInputFiles(await download.path());
        await page.locator(".cut", { hasText: "the page was closed" }).waitFor();
        await page.locator("#said", { hasText: "One conversation was imported." }).waitFor({ state: "attached" });
        await page.keyboard.press("Escape");
        await ended(page);
        assertEquals(await text.innerText(), "");
        assertEquals(await page.evaluate(`JSON.stringify(localStorage).includes("One")`), false, "what was shown is not written over it");
        await page.evaluate("delete globalThis.coming");
        await ask(page, "second");
        await page.waitForFunction("globalThis.coming !== undefined");
        await comes({ content: "Three" }, "length");
        await page.evaluate("coming.close()");
        await ended(page);
        await page.locator("#said", { hasText: "Cut: no more tokens" }).waitFor({ state: "attached" });
        await page.evaluate("globalThis.away = true");
        await page.getByRole("button", { name: "Continue" }).click();
        await page.locator("#notice", { hasText: "It cannot go on: The server cannot be reached." }).waitFor();
        await ended(page);
        assertEquals([await text.innerText(), await page.locator(".cut:visible").last().innerText()].map((said) => said.slice(0, 19)), [
          "Three",
          "Cut: no more tokens",
        ]);
        assertEquals(await page.locator("#said").textContent(), "The server cannot be reached.");
      }),
  );

  inBrowser(
    "shows Markdown and reasoning, obeys nothing in it, copies, and costs little",
    () =>
      withPage(
        running.server,
        running.browser,
        { viewport: { width: 1280, height: 860 }, colorScheme: "dark", permissions: ["clipboard-read", "clipboard-write"] },
        async (page) => {
          await page.locator("#files").setInputFiles({ name: "p.png", mimeType: "image/png", buffer: Buffer.from([0x89, 0x50, 0, 0xff]) });
          await page.locator("#notice", { hasText: "p.png is no text" }).waitFor();
          await page.locator("#files").setInputFiles({ name: "a.py", mimeType: "text/x-python", buffer: Buffer.from("x = 1\n") });
          await page.waitForFunction(`document.getElementById("message").value === "a.py:\\n\\n\`\`\`py\\nx = 1\\n\`\`\`\\n\\n"`);
          await answerNext(page, streamed({ reasoning_content: "Hm, *well*." }, ...(MARKDOWN.match(/[^]{1,9}/g)!).map((content) => ({ content }))));
          // Where there are several models, one is chosen.
          await page.route("**/cluster", async (route) => {
            const one = { state: "loaded", error: null, maxContext: null, progress: null };
            const response = await route.fetch();
            await route.fulfill({
              response,
              json: {
                ...await response.json(),
                models: [{ ...one, id: "tiny-mla" }, { ...one, id: "other", state: "unloaded" }, {
                  ...one,
                  id: "bad",
                  state: "unloaded",
                  error: "It has no config.json.",
                }],
              },
            });
          });
          // One that has failed is not called ready.
          await page.locator("#models").selectOption({ label: "✕ bad (could not be loaded)" });
          assertEquals(await page.locator("#state.down").innerText(), "bad could not be loaded: It has no config.json.");
          await assertAccessible(page, "a model that has failed");
          await page.locator("#models").selectOption({ label: "other (loads when asked)" });
          assertEquals(await page.locator("#state.down").count(), 0);
          assert((await page.locator("#snippet").innerText()).includes(`"model":"other"`));
          const asked = nextAsked(page);
          await ask(page, "Show me");
          assertEquals((await asked).model, "other");
          await ended(page);
          const text = answers(page).locator(".text");
          assertEquals(await text.locator("strong, h3, ol > li, table, pre").count(), 6);
          assertEquals(await text.locator("img, script, [style], [onerror]").count(), 0);
          assert((await text.innerText()).includes("<img src=x onerror=alert(1)>"), "HTML is shown as it is written");
          assertEquals(await text.locator("a[href]").evaluateAll((all) => all.map((one) => (one as unknown as { href: string }).href)), [
            "https://example.org/",
            "https://example.org/x.png",
          ]);
          await text.locator(".token-kwd", { hasText: "def" }).waitFor();
          assertEquals(await answers(page).locator("details[open]").count(), 0);
          await answers(page).locator("summary", { hasText: "Thought for" }).click();
          assertEquals(await answers(page).locator("details em").innerText(), "well");
          await page.getByRole("button", { name: "Copy this code" }).click();
          await page.locator(".code-bar button", { hasText: "Copied" }).waitFor();
          assertEquals(await page.evaluate("navigator.clipboard.readText()"), `def kettle(): # boils\n    return "tea"\n`);
          await page.locator("#workers summary").click();
          await page.locator("#workers-table tbody tr").nth(2).waitFor();
          await assertAccessible(page, "an answer, in the dark");
          await page.screenshot({ path: `${ARTEFACTS}/dashboard-dark.png` });
          const bytes = await page.evaluate(`[...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
        .filter(({ name }) => !/cluster$|completions$/.test(name)).reduce((sum, { transferSize }) => sum + transferSize, 0)`);
          assert(bytes as number > 20_000 && bytes as number <= MOST_BYTES, `${bytes} bytes`);
        },
      ),
  );
});
