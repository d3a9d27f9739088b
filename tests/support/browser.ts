/**
 * The page at `/` in a real browser, where there is one.
 *
 * @module
 */
import axe from "npm:axe-core@4.14.1/axe.min.js" with { type: "text" };
import { assertEquals } from "@std/assert";
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "npm:playwright-core@1.65.1";
import { ROOT } from "../../bench/support/root.ts";
import { type ServedProcess, startServerWith } from "../../bench/support/process.ts";

export const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
});

/** Where screenshots go: CI keeps them. */
export const ARTEFACTS = `${ROOT}/.artefacts`;

/** One server for all: it asks for a key, which pages are given unless a test is about that. */
export const KEY = "a-key-of-the-tests";

/** What a server would stream. */
export function streamed(...deltas: object[]): string {
  const event = (value: object) => `data: ${JSON.stringify(value)}\n\n`;
  return deltas.map((delta) => event({ choices: [{ delta, finish_reason: null }] })).join("") +
    event({ choices: [{ delta: {}, finish_reason: "stop" }] }) + event({ choices: [], usage: { completion_tokens: deltas.length } }) +
    "data: [DONE]\n\n";
}

/** Answers the next request for an answer. */
export const answerNext = (page: Page, body: string) =>
  page.route("**/chat/completions", (route) => route.fulfill({ contentType: "text/event-stream", body }), { times: 1 });

/** What the next request for an answer says. */
export const nextAsked = (page: Page) =>
  page.waitForRequest(/chat\/completions$/).then((request) => request.postDataJSON() as { messages: unknown[]; [field: string]: unknown });

export async function ask(page: Page, text: string): Promise<void> {
  await page.locator("#message").fill(text);
  await page.keyboard.press("Enter");
}

export const ended = (page: Page) => page.locator("#send:visible").waitFor();
export const answers = (page: Page) => page.locator("#turns li[data-who=model]");
export const overflow = (page: Page) => page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");

/** Whether all of an element can be seen without scrolling. */
export async function inWindow(page: Page, selector: string): Promise<boolean> {
  const { x, y, width, height } = (await page.locator(selector).boundingBox())!;
  const window = page.viewportSize()!;
  return x >= 0 && y >= 0 && x + width <= window.width && y + height <= window.height;
}

/** Throws if axe finds something serious. It is evaluated, not loaded: the page allows no scripts but its own. */
export async function assertAccessible(page: Page, what: string): Promise<void> {
  await page.evaluate(`if (globalThis.axe === undefined) { ${axe} }`);
  const violations = await page.evaluate(`axe.run({ resultTypes: ["violations"] }).then(({ violations }) => violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => id + ": " + nodes.map(({ html }) => html.slice(0, 200)).join(" | ")))`);
  assertEquals(violations, [], what);
}

/** A page that must ask nobody but its server, and complain of nothing. */
export async function withPage(
  { url }: Pick<ServedProcess, "url">,
  browser: Browser,
  { keyed = true, ...options }: BrowserContextOptions & { keyed?: boolean },
  test: (page: Page) => Promise<void>,
): Promise<void> {
  const context = await browser.newContext(options);
  if (keyed) await context.addInitScript(`sessionStorage.setItem("latentmesh-key", JSON.stringify("${KEY}"))`);
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  const problems: string[] = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => message.type() === "error" && (keyed || !message.text().includes("401")) && problems.push(message.text()));
  page.on("request", (request) => request.url().startsWith(url) || /^(data|blob):/.test(request.url()) || problems.push(`asked ${request.url()}`));
  try {
    await page.goto(url);
    if (keyed) await page.locator("#state.up").waitFor();
    await test(page);
    assertEquals(problems, []);
  } finally {
    // A page polls: what answers in its server's place may be half way through, and would fail once the context is closed.
    await page.unrouteAll({ behavior: "wait" });
    await context.close();
  }
}

/** A page's server and a browser, for the tests of a `describe`; where there is no Chromium they are skipped, by name. */
export function describePage(
  name: string,
  tests: (inBrowser: (what: string, test: () => Promise<void>) => void, running: RunningPage) => void,
): void {
  describe(name, () => {
    const running: { server?: ServedProcess; browser?: Browser } = {};
    if (CHROMIUM !== undefined) {
      beforeAll(async () => {
        await Deno.mkdir(ARTEFACTS, { recursive: true });
        running.server = await startServerWith({ TEST_KEYS: KEY }, "--config", `${ROOT}/tests/support/keyed.yaml`);
        running.browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
      });
      afterAll(async () => {
        await running.browser?.close();
        if (running.server !== undefined) assertEquals((await running.server.stop()).code, 0);
      });
    }
    tests((what, test) => CHROMIUM === undefined ? it.skip(`${what}: skipped, no Chromium`) : it(what, test), running as RunningPage);
  });
}

/** What a test of the page has, once it runs. */
export interface RunningPage {
  readonly server: ServedProcess;
  readonly browser: Browser;
}
