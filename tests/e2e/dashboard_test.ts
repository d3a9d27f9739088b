/**
 * The page at `/` in a real browser. Skipped, by name, where there is no Chromium.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { type Browser, chromium, type Page } from "npm:playwright-core@1.65.1";
import { ROOT } from "../support/fixtures.ts";
import { startServer, startServerWith } from "../../bench/support/process.ts";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
});

/** Where screenshots go: CI keeps them. */
const ARTEFACTS = `${ROOT}/.artefacts`;

async function withPage(
  url: string,
  browser: Browser,
  options: Parameters<Browser["newPage"]>[0],
  test: (page: Page) => Promise<void>,
): Promise<void> {
  const page = await browser.newPage(options);
  const problems: string[] = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("request", (request) => request.url().startsWith(url) || request.url().startsWith("data:") || problems.push(`asked ${request.url()}`));
  await page.goto(url);
  await page.waitForSelector(".unit");
  await test(page);
  assertEquals(problems, []);
  await page.close();
}

/** Whether all of an element can be seen without scrolling. */
async function inWindow(page: Page, selector: string): Promise<boolean> {
  const { x, y, width, height } = (await page.locator(selector).boundingBox())!;
  const window = page.viewportSize()!;
  return x >= 0 && y >= 0 && x + width <= window.width && y + height <= window.height;
}

/** What a request for an answer said of the conversation. */
const asked = (page: Page) =>
  page.waitForRequest(/chat\/completions$/).then((request) => (request.postDataJSON() as { messages: unknown[] }).messages);

const KEY = "a-key-of-the-tests";

const overflow = (page: Page) => page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");

describe("the dashboard", () => {
  it(`chats by keyboard, shows the cluster, and fits a phone${CHROMIUM === undefined ? " (skipped: no Chromium)" : ""}`, async () => {
    if (CHROMIUM === undefined) return;
    await Deno.mkdir(ARTEFACTS, { recursive: true });
    const server = await startServer();
    const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
    try {
      await withPage(server.url, browser, { viewport: { width: 1280, height: 860 }, colorScheme: "light" }, async (page) => {
        assertEquals(await page.title(), "Latentmesh");
        assertEquals(await page.locator(".unit").count(), 2);
        assertEquals(await page.locator(".worker").count(), 3);
        for (const button of ["clear", "again", "stop", "send"]) assert(await inWindow(page, `#${button}`), `${button} is in the window`);
        await page.locator("summary").click();
        await page.locator("#temperature").fill("0");
        await page.locator("summary").click();
        await page.locator("#message").focus();
        await page.keyboard.type("What is a kettle?");
        await page.keyboard.press("Enter");
        // Tab goes on to the settings and the buttons, and an answer that ends meanwhile does not take the focus back.
        await page.keyboard.press("Tab");
        await page.locator("#conversation li[data-who=model]", { hasText: "driving reasons." }).waitFor();
        await page.locator("#send:enabled").waitFor();
        assertEquals(await page.evaluate("document.activeElement.id"), "clear");
        await page.locator("li .speed", { hasText: /^\d+ tokens · first token after \d.*s( · [\d.]+ tokens\/s)?$/ }).waitFor();
        assertEquals(await page.locator("li .cut").count(), 0);
        await page.locator("#throughput path:not(.high)[d^=M]").waitFor({ state: "attached" });
        await page.locator("#first-now", { hasText: /\d/ }).waitFor();
        await page.screenshot({ path: `${ARTEFACTS}/dashboard-light.png` });
        // An answer that was cut says so.
        await page.locator("summary").click();
        await page.locator("#most").fill("2");
        await page.locator("#again").click();
        await page.locator("li .cut", { hasText: "cut: it reached" }).waitFor();
        assertEquals(await page.locator("#conversation li").count(), 2);
        // A long one can be stopped by a key, and one that is cleared leaves nothing behind.
        await page.locator("#most").fill("2000");
        for (const end of ["Escape", "clear"]) {
          await page.locator("#message").fill("Tell me everything");
          await page.keyboard.press("Enter");
          await page.locator("#stop:enabled").waitFor();
          if (end === "Escape") await page.keyboard.press(end);
          else await page.locator("#clear").click();
          await page.locator("#send:enabled").waitFor();
        }
        assertEquals(await page.locator("#conversation li").count(), 0);
        await page.locator("#message").fill("Hello");
        const messages = asked(page);
        await page.keyboard.press("Enter");
        assertEquals(await messages, [{ role: "user", content: "Hello" }]);
        await page.locator("#clear").click();
      });
      await withPage(server.url, browser, { viewport: { width: 375, height: 740 }, colorScheme: "dark" }, async (page) => {
        assertEquals(await overflow(page), 0);
        const colour = await page.evaluate("getComputedStyle(document.body).color") as string;
        assert(colour.split(/\D+/).filter(Boolean).slice(0, 3).every((part) => Number(part) > 200), `light text on dark: ${colour}`);
        await page.screenshot({ path: `${ARTEFACTS}/dashboard-phone-dark.png`, fullPage: true });
      });
      for (const [width, height] of [[800, 600], [390, 844]]) {
        await withPage(server.url, browser, { viewport: { width, height } }, async (page) => {
          for (const button of ["clear", "again", "stop", "send"]) assert(await inWindow(page, `#${button}`), `${button} at ${width} px`);
          await page.locator("#client").selectOption("curl");
          await page.locator("#snippet", { hasText: `curl ${server.url}/v1/chat/completions` }).waitFor();
        });
      }
    } finally {
      await browser.close();
      assertEquals((await server.stop()).code, 0);
    }
  });

  it(`keeps failed turns out of the conversation, and shows metrics where keys are asked for${CHROMIUM === undefined ? " (skipped: no Chromium)" : ""}`, async () => {
    if (CHROMIUM === undefined) return;
    const server = await startServerWith({ TEST_KEYS: KEY }, "--single", "--config", `${ROOT}/tests/support/keyed.yaml`);
    const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
    try {
      const page = await browser.newPage();
      await page.goto(server.url);
      // Closed without a key, it is not asked for again every second.
      await page.locator("#key-dialog[open]").waitFor();
      await page.keyboard.press("Escape");
      await page.locator("#state", { hasText: "API key" }).waitFor();
      await page.locator("#metrics").click();
      await page.locator("#key").fill("wrong-wrong-wrong-wrong");
      await page.keyboard.press("Enter");
      await page.locator("#key-refused:visible").waitFor();
      await page.locator("#key").fill(KEY);
      await page.keyboard.press("Enter");
      await page.locator("#metrics-text", { hasText: "# HELP latentmesh_" }).waitFor();
      await page.keyboard.press("Escape");
      await page.route("**/chat/completions", (route) => route.fulfill({ status: 503, json: { error: { message: "It is away." } } }), { times: 1 });
      await page.locator("#message").fill("first");
      await page.keyboard.press("Enter");
      await page.locator("li.error", { hasText: "It is away." }).waitFor();
      await page.locator("#message").fill("second");
      const messages = asked(page);
      await page.keyboard.press("Enter");
      assertEquals(await messages, [{ role: "user", content: "second" }]);
      await page.locator("li .speed").waitFor();
    } finally {
      await browser.close();
      assertEquals((await server.stop()).code, 0);
    }
  });
});
