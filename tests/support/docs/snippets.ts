/**
 * What a document shows: its blocks of code, with what is said of them in comments that readers do not see.
 *
 * `<!-- not run: REASON -->` before a block, or anywhere between it and the one before, keeps it from being run; with a command in backticks in front of the reason,
 * only that command. A block that begins with a comment that is a file's name is that file.
 *
 * @module
 */

/** One command of a block. */
export interface Command {
  readonly text: string;
  /** Why it is not run; null: it is. */
  readonly skipped: string | null;
}

/** A block of code. */
export interface Snippet {
  readonly language: string;
  readonly code: string;
  /** Name of the file that it is. */
  readonly file: string | null;
  /** Why nothing of it is run. */
  readonly skipped: string | null;
  /** Of `sh`: its commands. */
  readonly commands: readonly Command[];
}

/** The blocks of a document that are code, in order. */
export function snippetsOf(markdown: string): Snippet[] {
  const snippets: Snippet[] = [];
  let from = 0;
  for (const match of markdown.matchAll(/^```(\w+)\n(.*?)^```$/gms)) {
    const [, language, code] = match;
    const said = [...markdown.slice(from, match.index).matchAll(/<!-- not run: (?:`([^`]+)` )?(.*?) -->/g)];
    from = match.index + match[0].length;
    if (language === "text") continue;
    const skipped = said.find(([, command]) => command === undefined)?.[2] ?? null;
    const reasonOf = (command: string) => skipped ?? said.find(([, name]) => name === command)?.[2] ?? null;
    snippets.push({
      language,
      code,
      file: /^(?:#|\/\/) (\w+\.\w+)\n/.exec(code)?.[1] ?? null,
      skipped,
      commands: language !== "sh" ? [] : commandsOf(code).map((text) => ({ text, skipped: reasonOf(text) })),
    });
  }
  return snippets;
}

/** Lines, without the comments at their ends; one that ends in a backslash goes on. */
function commandsOf(code: string): string[] {
  return code.replaceAll("\\\n", "\\\u0000").split("\n").map((line) => line.replaceAll("\u0000", "\n").replace(/\s{2,}# .*$/, "").trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
}
