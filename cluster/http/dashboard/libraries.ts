/**
 * Libraries of the page, as their packages have them: files under `/dashboard/lib`, so that nothing is fetched from elsewhere.
 *
 * @module
 */
import marked from "marked" with { type: "text" };
import purify from "dompurify/dist/purify.min.js" with { type: "text" };
import uplot from "uplot/dist/uPlot.iife.min.js" with { type: "text" };
import uplotStyle from "uplot/dist/uPlot.min.css" with { type: "text" };
import tokenize from "@speed-highlight/core/tokenize" with { type: "text" };
import asm from "@speed-highlight/core/languages/asm.js" with { type: "text" };
import bash from "@speed-highlight/core/languages/bash.js" with { type: "text" };
import c from "@speed-highlight/core/languages/c.js" with { type: "text" };
import css from "@speed-highlight/core/languages/css.js" with { type: "text" };
import diff from "@speed-highlight/core/languages/diff.js" with { type: "text" };
import docker from "@speed-highlight/core/languages/docker.js" with { type: "text" };
import go from "@speed-highlight/core/languages/go.js" with { type: "text" };
import html from "@speed-highlight/core/languages/html.js" with { type: "text" };
import ini from "@speed-highlight/core/languages/ini.js" with { type: "text" };
import java from "@speed-highlight/core/languages/java.js" with { type: "text" };
import js from "@speed-highlight/core/languages/js.js" with { type: "text" };
import jsdoc from "@speed-highlight/core/languages/jsdoc.js" with { type: "text" };
import json from "@speed-highlight/core/languages/json.js" with { type: "text" };
import lua from "@speed-highlight/core/languages/lua.js" with { type: "text" };
import make from "@speed-highlight/core/languages/make.js" with { type: "text" };
import py from "@speed-highlight/core/languages/py.js" with { type: "text" };
import regex from "@speed-highlight/core/languages/regex.js" with { type: "text" };
import rs from "@speed-highlight/core/languages/rs.js" with { type: "text" };
import sql from "@speed-highlight/core/languages/sql.js" with { type: "text" };
import toml from "@speed-highlight/core/languages/toml.js" with { type: "text" };
import todo from "@speed-highlight/core/languages/todo.js" with { type: "text" };
import ts from "@speed-highlight/core/languages/ts.js" with { type: "text" };
import xml from "@speed-highlight/core/languages/xml.js" with { type: "text" };
import yaml from "@speed-highlight/core/languages/yaml.js" with { type: "text" };

/** Languages of code, by the names of their files: those that `chat/highlight.js` asks for. */
export const LANGUAGES: Readonly<Record<string, string>> = {
  asm,
  bash,
  c,
  css,
  diff,
  docker,
  go,
  html,
  ini,
  java,
  js,
  jsdoc,
  json,
  lua,
  make,
  py,
  regex,
  rs,
  sql,
  toml,
  todo,
  ts,
  xml,
  yaml,
};

/** Without what leads to a map that is not served. */
const bare = (text: string) => text.replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n");

/** Scripts by their paths under `/dashboard/lib`. */
export const LIBRARY_SCRIPTS: Readonly<Record<string, string>> = {
  marked: bare(marked),
  // These two are made for pages without modules.
  purify: `${bare(purify)}\nexport default globalThis.DOMPurify;\n`,
  uplot: `${bare(uplot)}\nexport default uPlot;\n`,
  tokenize: bare(tokenize),
  ...Object.fromEntries(Object.entries(LANGUAGES).map(([name, text]) => [`languages/${name}`, bare(text)])),
};

/** Style sheets likewise. */
export const LIBRARY_STYLES: Readonly<Record<string, string>> = { uplot: uplotStyle };
