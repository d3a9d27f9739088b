/**
 * Codex and Claude Code as their makers publish them, pointed at a server as the README says, doing what a scripted model asks of them. They are large (npm's
 * `@openai/codex` and `@anthropic-ai/claude-code`), so that they are only run where `TEST_CODEX` and `TEST_CLAUDE` say where their programs are.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { serveModel } from "../../bench/support/server.ts";
import { scriptedModel } from "../support/scripted_model.ts";
import { ROOT } from "../../bench/support/root.ts";

const ANSWER = "The tool has said hello.";
const CALLS = {
  exec_command: `<think>I look.</think>\n\nLet me look.\n<tool_call>\n{"name": "exec_command", "arguments": {"cmd": "echo hel''lo"}}\n</tool_call>`,
  Bash: `<think>I look.</think>\n\n<tool_call>\n{"name": "Bash", "arguments": {"command": "echo hel''lo", "description": "Greets"}}\n</tool_call>`,
};

describe("coding agents", () => {
  const prompts: string[] = [];
  let server: { readonly url: string; close(): Promise<void> };
  let directory: string;
  beforeAll(async () => {
    const model = await scriptedModel((prompt) => {
      prompts.push(prompt);
      const [, results = ""] = prompt.split("[tool]");
      if (results !== "") return results.includes("hello") ? ANSWER : "It has not.";
      return CALLS[prompt.includes(`"name": "Bash"`) ? "Bash" : "exec_command"];
    }, { maxContext: 300_000 });
    server = await serveModel(model);
    directory = await Deno.makeTempDir();
  });
  afterAll(async () => {
    await server.close();
    await Deno.remove(directory, { recursive: true });
  });

  /** Runs the README's command with other words at its end. */
  async function run(program: string, more: string, env: Record<string, string>): Promise<string> {
    const readme = await Deno.readTextFile(`${ROOT}/README.md`);
    const [shown] = new RegExp(`^(?:ANTHROPIC[^\n]*\\\\\n.*?|)${program === "claude" ? "claude" : "codex -c.*?'"}$`, "ms").exec(readme)!;
    const command = shown.replaceAll("http://127.0.0.1:8080", server.url).replaceAll(/=MODEL\b/g, "=scripted")
      .replace(new RegExp(`(^|\\s)${program}(\\s|$)`), `$1"$PROGRAM"$2`);
    const { success, stdout, stderr } = await new Deno.Command("sh", {
      args: ["-c", `${command} ${more}`],
      cwd: directory,
      env: { HOME: directory, CODEX_HOME: directory, IS_SANDBOX: "1", CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1", ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).output();
    const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assert(success, text);
    return text;
  }

  const cases: [name: string, variable: string, program: string, more: string][] = [
    ["Codex", "TEST_CODEX", "codex", `exec --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox "Greet me"`],
    ["Claude Code", "TEST_CLAUDE", "claude", `-p "Greet me" --allowedTools Bash`],
  ];
  for (const [name, variable, program, more] of cases) {
    const path = Deno.env.get(variable);
    if (path === undefined) {
      it.skip(`${name}: skipped, ${variable} is not set`);
      continue;
    }
    it(`${name} runs a tool and goes on with its result`, async () => {
      prompts.length = 0;
      const printed = await run(program, more, { PROGRAM: path });
      assert(printed.includes(ANSWER), printed);
      assertEquals(prompts.filter((prompt) => prompt.includes("Greet me")).length, 2);
      assert(prompts.at(-1)!.includes("<think>I look.</think>"), "its reasoning comes back");
    });
  }
});
