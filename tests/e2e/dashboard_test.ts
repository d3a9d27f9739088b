/**
 * The page at `/` in a real browser. Skipped, by name, where there is no Chromium.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { type Browser, chromium, type Page } from "npm:playwright-core@1.65.1";
import { ROOT } from "../support/fixtures.ts";
import { startServer } from "../../bench/support/process.ts";

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
        await page.locator("#temperature").fill("0");
        await page.locator("#message").focus();
        await page.keyboard.type("What is a kettle?");
        await page.keyboard.press("Enter");
        // Tab goes on to the settings and the buttons, and an answer that ends meanwhile does not take the focus back.
        await page.keyboard.press("Tab");
        await page.locator("#conversation li[data-who=model]", { hasText: "driving reasons." }).waitFor();
        await page.locator("#send:enabled").waitFor();
        assertEquals(await page.evaluate("document.activeElement.id"), "temperature");
        await page.locator("#throughput path:not(.high)[d^=M]").waitFor({ state: "attached" });
        await page.locator("#first-now", { hasText: /\d/ }).waitFor();
        await page.screenshot({ path: `${ARTEFACTS}/dashboard-light.png` });
        // A long answer can be stopped.
        await page.locator("#most").fill("2000");
        await page.locator("#message").fill("Tell me everything");
        await page.locator("#send").click();
        await page.locator("#stop:enabled").click();
        await page.locator("#send:enabled").waitFor();
      });
      await withPage(server.url, browser, { viewport: { width: 375, height: 740 }, colorScheme: "dark" }, async (page) => {
        assertEquals(await overflow(page), 0);
        const colour = await page.evaluate("getComputedStyle(document.body).color") as string;
        assert(colour.split(/\D+/).filter(Boolean).slice(0, 3).every((part) => Number(part) > 200), `light text on dark: ${colour}`);
        await page.screenshot({ path: `${ARTEFACTS}/dashboard-phone-dark.png`, fullPage: true });
      });
    } finally {
      await browser.close();
      assertEquals((await server.stop()).code, 0);
    }
  });
});
