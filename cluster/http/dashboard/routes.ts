/**
 * The files of the page at `/`.
 *
 * @module
 */
import type { Hono } from "hono";
import { etag } from "hono/etag";
import type { AppEnv } from "../server_context.ts";
import answer from "./chat/answer.js" with { type: "text" };
import attach from "./chat/attach.js" with { type: "text" };
import chat from "./chat/chat.js" with { type: "text" };
import conversation from "./chat/conversation.js" with { type: "text" };
import highlight from "./chat/highlight.js" with { type: "text" };
import chatHistory from "./chat/history.js" with { type: "text" };
import historyDrawer from "./chat/history_drawer.js" with { type: "text" };
import markdown from "./chat/markdown.js" with { type: "text" };
import models from "./chat/models.js" with { type: "text" };
import settings from "./chat/settings.js" with { type: "text" };
import turns from "./chat/turns.js" with { type: "text" };
import cells from "./cluster/cells.js" with { type: "text" };
import charts from "./cluster/charts.js" with { type: "text" };
import flows from "./cluster/flows.js" with { type: "text" };
import incidents from "./cluster/incidents.js" with { type: "text" };
import layout from "./cluster/layout.js" with { type: "text" };
import memory from "./cluster/memory.js" with { type: "text" };
import mesh from "./cluster/mesh.js" with { type: "text" };
import recent from "./cluster/recent.js" with { type: "text" };
import words from "./cluster/words.js" with { type: "text" };
import workersTable from "./cluster/workers_table.js" with { type: "text" };
import connect from "./connect.js" with { type: "text" };
import copy from "./copy.js" with { type: "text" };
import dom from "./dom.js" with { type: "text" };
import page from "./page.js" with { type: "text" };
import server from "./server.js" with { type: "text" };
import storage from "./storage.js" with { type: "text" };
import html from "./index.html" with { type: "text" };
import chatStyle from "./style/chat.css" with { type: "text" };
import clusterStyle from "./style/cluster.css" with { type: "text" };
import pageStyle from "./style/page.css" with { type: "text" };
import { LIBRARY_SCRIPTS, LIBRARY_STYLES } from "./libraries.ts";

const SCRIPTS: Readonly<Record<string, string>> = {
  "chat/answer": answer,
  "chat/attach": attach,
  "chat/chat": chat,
  "chat/conversation": conversation,
  "chat/highlight": highlight,
  "chat/history": chatHistory,
  "chat/history_drawer": historyDrawer,
  "chat/markdown": markdown,
  "chat/models": models,
  "chat/settings": settings,
  "chat/turns": turns,
  "cluster/cells": cells,
  "cluster/charts": charts,
  "cluster/flows": flows,
  "cluster/incidents": incidents,
  "cluster/layout": layout,
  "cluster/memory": memory,
  "cluster/mesh": mesh,
  "cluster/recent": recent,
  "cluster/words": words,
  "cluster/workers_table": workersTable,
  connect,
  copy,
  dom,
  page,
  server,
  storage,
};

/** Scripts that the page begins with: all but languages of code, which it asks for when it meets them. */
const FIRST = [
  ...Object.keys(SCRIPTS),
  ...Object.keys(LIBRARY_SCRIPTS).filter((name) => !name.startsWith("languages/")).map((name) => `lib/${name}`),
];

/** One file. */
interface PageFile {
  readonly type: string;
  readonly text: string;
}

const named = (files: Readonly<Record<string, string>>, folder: string, ending: string, type: string): Record<string, PageFile> =>
  Object.fromEntries(Object.entries(files).map(([name, text]) => [`/dashboard/${folder}${name}.${ending}`, { type, text }]));

const FILES: Readonly<Record<string, PageFile>> = {
  "/": { type: "text/html", text: html },
  ...named({ page: pageStyle, chat: chatStyle, cluster: clusterStyle }, "style/", "css", "text/css"),
  ...named(LIBRARY_STYLES, "lib/", "css", "text/css"),
  ...named(SCRIPTS, "", "js", "text/javascript"),
  ...named(LIBRARY_SCRIPTS, "lib/", "js", "text/javascript"),
};

/** Nothing but the page's own files, and nobody may put it in a frame. */
const POLICY = "default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/** Paths that need no key: the page holds nothing; what it shows it asks for. */
export const DASHBOARD_PATHS: readonly string[] = Object.keys(FILES);

/** Adds the page to an app. */
export function addDashboard(app: Hono<AppEnv>): void {
  // Asked for one after the other, as they name each other, they would take a dozen round trips.
  const link = FIRST.map((name) => `<dashboard/${name}.js>; rel=modulepreload`).join(", ");
  for (const [path, file] of Object.entries(FILES)) {
    let zipped: Promise<ArrayBuffer> | null = null;
    app.get(path, etag(), async (c) => {
      c.header("content-type", `${file.type}; charset=utf-8`);
      c.header("content-security-policy", POLICY);
      c.header("x-content-type-options", "nosniff");
      c.header("referrer-policy", "no-referrer");
      c.header("cache-control", "no-cache");
      c.header("vary", "accept-encoding");
      if (path === "/") c.header("link", link);
      if (!/\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/.test(c.req.header("accept-encoding") ?? "")) return c.body(file.text);
      c.header("content-encoding", "gzip");
      return c.body(await (zipped ??= zip(file.text)));
    });
  }
}

async function zip(text: string): Promise<ArrayBuffer> {
  return await new Response(new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer();
}
