/**
 * The page at `/` in a real browser. Skipped, by name, where there is no Chromium.
 */
import { assert, assertEquals } from "@std/assert";
import { ARTEFACTS, ask, assertAccessible, describePage, inWindow, KEY, overflow, withPage } from "../support/browser.ts";

describePage("the dashboard", (inBrowser, running) => {
  inBrowser(
    "moves while something flows, and shows who was lost and came back",
    () =>
      withPage(running.server, running.browser, { viewport: { width: 1280, height: 860 }, reducedMotion: "reduce" }, async (page) => {
        const headers = { authorization: `Bearer ${KEY}`, "content-type": "application/json" };
        assertEquals(await page.locator("#mesh .moves").count(), 0);
        const body = JSON.stringify({ messages: [{ role: "user", content: "Go on and on" }], max_tokens: 600, ignore_eos: true });
        const abort = new AbortController();
        const asked = fetch(`${running.server.url}/v1/chat/completions`, { method: "POST", headers, body, signal: abort.signal }).then((response) =>
          response.text()
        ).catch(() => "");
        await page.locator("#mesh .latents.moves").first().waitFor({ state: "attached" });
        await page.locator("#mesh .sums.moves").first().waitFor({ state: "attached" });
        await page.locator("#mesh text", { hasText: /sums\/s$/ }).first().waitFor();
        const animations = await page.evaluate(`[...document.querySelectorAll("#mesh .moves")].map((one) => getComputedStyle(one).animationName)`);
        assert((animations as string[]).every((name) => name === "none"), String(animations));
        abort.abort();
        await asked;
        const { units } = await (await fetch(`${running.server.url}/cluster`, { headers })).json();
        Deno.kill(units.find(({ role }: { role: string }) => role === "decode").workers[1].pid, "SIGKILL");
        await page.locator("#incidents .bad", { hasText: "decode-0 lost the worker of rank 1" }).waitFor();
        await page.locator("#incidents .good", { hasText: "decode-0 works again" }).waitFor();
        await page.locator("#mesh .moves").first().waitFor({ state: "detached" });
      }),
  );

  inBrowser("goes on looking after a first look that fails", () =>
    withPage(running.server, running.browser, {}, async (page) => {
      // What fails here is no complaint.
      await page.addInitScript(`for (const name of ["error", "unhandledrejection"]) addEventListener(name, (event) => {
        event.preventDefault();
        sessionStorage.setItem("failed", "1");
      })`);
      // The page that is there looks again and again: what fails must be the first look of the next one.
      let fails = false;
      page.once("framenavigated", () => fails = true);
      await page.route("**/cluster", async (route) => {
        if (!fails) return await route.continue().catch(() => {});
        fails = false;
        await route.fulfill({ json: {} });
      });
      await page.reload();
      await page.locator("#mesh svg").waitFor();
      assertEquals(await page.evaluate(`sessionStorage.getItem("failed")`), "1");
    }));

  inBrowser("fits telephones and narrow windows", async () => {
    for (const [width, height, colorScheme] of [[390, 844, "dark"], [800, 600, "light"]] as const) {
      await withPage(running.server, running.browser, { viewport: { width, height }, colorScheme }, async (page) => {
        for (const button of ["open-history", "fresh", "open-settings", "send"]) {
          assert(await inWindow(page, `#${button}`), `${button} at ${width} px`);
        }
        assertEquals(await overflow(page), 0);
        await page.screenshot({ path: `${ARTEFACTS}/dashboard-${width}.png` });
        for (const [view, what] of [["cluster", "#mesh svg"], ["connect", "#snippet"]]) {
          await page.locator(`#views [data-view=${view}]`).click();
          await page.locator(what).waitFor();
          assertEquals(await overflow(page), 0, view);
          if (colorScheme === "dark") await assertAccessible(page, `${view}, ${width} px`);
          await page.screenshot({ path: `${ARTEFACTS}/dashboard-${width}-${view}.png` });
        }
        for (
          const [client, text] of [["curl", `curl ${running.server.url}/v1/chat/completions`], [
            "Claude Code",
            `ANTHROPIC_BASE_URL=${running.server.url}\n`,
          ]]
        ) {
          await page.locator("#client").selectOption(client);
          assert((await page.locator("#snippet").innerText()).includes(text), client);
        }
      });
    }
  });

  inBrowser("leaves nothing out of sight that fits on screens", async () => {
    for (const [width, height] of [[1900, 1000], [1280, 860]] as const) {
      await withPage(running.server, running.browser, { viewport: { width, height } }, async (page) => {
        await page.locator("#workers summary").click();
        await page.locator("#workers-table tbody tr").nth(2).waitFor();
        for (const part of ["#chat", "#cluster", "#connect", "#snippet"]) assert(await inWindow(page, part), `${part} at ${width} px`);
        const [table, margin, rows] = await page.evaluate(`(() => {
          const { scrollWidth, clientWidth } = document.querySelector("#workers .scroller");
          const figures = [...document.querySelectorAll("#charts figure")].map((one) => one.offsetTop);
          const rows = Object.values(Object.groupBy(figures, (top) => top)).map((row) => row.length);
          return [scrollWidth - clientWidth, innerWidth - document.getElementById("side").getBoundingClientRect().right, rows];
        })()`) as [number, number, number[]];
        assertEquals([table, rows], [0, [2, 2]], `${width} px`);
        assert(margin < 30, `${margin} px beside it at ${width} px`);
      });
    }
  });

  inBrowser("asks for a key, once, and uses it for everything", () =>
    withPage(running.server, running.browser, { keyed: false }, async (page) => {
      // Closed without a key, it is not asked for again every second.
      await page.locator("#key-dialog[open]").waitFor();
      await assertAccessible(page, "the key");
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
      await page.locator("#state", { hasText: "ready" }).waitFor();
      assert((await page.locator("#snippet").innerText()).includes("YOUR KEY"));
      await ask(page, "Hello");
      await page.locator(".speed", { hasText: "token" }).waitFor();
      // Another key than the one that there is.
      await page.locator("#change-key").click();
      await page.locator("#key-dialog[open]").waitFor();
    }));
});
