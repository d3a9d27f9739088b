/**
 * The page of a front in a real browser. Skipped, by name, where there is no Chromium.
 */
import { assertEquals } from "@std/assert";
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { type Browser, chromium } from "npm:playwright-core@1.65.1";
import { Fleet } from "../../bench/support/fleet.ts";
import { answers, ARTEFACTS, ask, assertAccessible, CHROMIUM, ended, overflow, withPage } from "../support/browser.ts";

describe("the page of a front", () => {
  const inBrowser = CHROMIUM === undefined ? it.skip : it;
  let fleet: Fleet | undefined;
  let browser: Browser | undefined;
  if (CHROMIUM !== undefined) {
    beforeAll(async () => {
      await Deno.mkdir(ARTEFACTS, { recursive: true });
      fleet = await Fleet.start({ nats: false, cells: ["one", "two"], fronts: 1, args: ["--single", "--threads", "1"] });
      browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
    });
    afterAll(async () => {
      await browser?.close();
      await fleet?.[Symbol.asyncDispose]();
    });
  }

  inBrowser(
    "shows all cells and what becomes of them, and chats through them",
    () =>
      withPage({ url: fleet!.urls[0] }, browser!, { viewport: { width: 1280, height: 860 } }, async (page) => {
        const row = (id: string) => page.locator("#cells tbody tr", { has: page.locator("th", { hasText: id }) });
        await row("one").waitFor();
        assertEquals(await page.locator("#cells tbody tr").count(), 2);
        assertEquals(await row("two").locator("td").nth(5).innerText(), "A");
        assertEquals([await page.locator("#mesh").isVisible(), await page.locator("#memory").isVisible()], [false, false]);
        assertEquals(await page.locator("#charts figure").count(), 4);
        await ask(page, "What is a kettle?");
        await ended(page);
        await answers(page).first().waitFor();
        assertEquals((await answers(page).first().innerText()).length > 0, true);
        await assertAccessible(page, "a front");
        assertEquals(await overflow(page), 0);
        await page.screenshot({ path: `${ARTEFACTS}/front.png` });
        await fleet!.cells.get("two")!.end("SIGKILL");
        await page.locator("#incidents .bad", { hasText: "cell two is gone" }).waitFor();
        assertEquals(await page.locator("#cells tbody tr").count(), 1);
      }),
  );
});
