/**
 * The files of the page at `/`.
 *
 * @module
 */
import type { Hono } from "hono";
import type { AppEnv } from "../server_context.ts";
import answer from "./answer.js" with { type: "text" };
import charts from "./charts.js" with { type: "text" };
import chat from "./chat.js" with { type: "text" };
import connect from "./connect.js" with { type: "text" };
import conversation from "./conversation.js" with { type: "text" };
import html from "./index.html" with { type: "text" };
import page from "./page.js" with { type: "text" };
import server from "./server.js" with { type: "text" };
import style from "./style.css" with { type: "text" };
import units from "./units.js" with { type: "text" };

const FILES: Readonly<Record<string, { readonly type: string; readonly text: string }>> = {
  "/": { type: "text/html", text: html },
  "/dashboard/style.css": { type: "text/css", text: style },
  ...Object.fromEntries(
    Object.entries({ page, server, chat, conversation, answer, connect, units, charts }).map((
      [name, text],
    ) => [`/dashboard/${name}.js`, { type: "text/javascript", text }]),
  ),
};

/** Nothing but the page's own files, and nobody may put it in a frame. */
const POLICY = "default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/** Paths that need no key: the page holds nothing; what it shows it asks for. */
export const DASHBOARD_PATHS: readonly string[] = Object.keys(FILES);

/** Adds the page to an app. */
export function addDashboard(app: Hono<AppEnv>): void {
  for (const [path, { type, text }] of Object.entries(FILES)) {
    app.get(
      path,
      (c) => c.body(text, 200, { "content-type": `${type}; charset=utf-8`, "content-security-policy": POLICY, "cache-control": "no-cache" }),
    );
  }
}
