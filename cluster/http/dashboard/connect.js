// How other programs ask this server: snippets with its address, its model, and the place of a key.
import { copyButton } from "./copy.js";

/**
 * Snippets by their names.
 *
 * @param {object} server
 * @param {string} server.root its address, without a slash at the end
 * @param {string} server.model
 * @param {boolean} server.keyed whether it asks for a key
 */
export function snippets({ root, model, keyed }) {
  const base = `${root}/v1`;
  const key = keyed ? "YOUR KEY" : "none";
  const quoted = JSON.stringify(model);
  const shell = (text) => /^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
  const body = JSON.stringify({ model, messages: [{ role: "user", content: "Hello" }] });
  return {
    curl: `curl ${base}/chat/completions \\
  -H 'content-type: application/json' \\${keyed ? "\n  -H 'authorization: Bearer YOUR KEY' \\" : ""}
  -d ${shell(body)}`,
    Python: `# pip install openai
from openai import OpenAI

client = OpenAI(base_url="${base}", api_key="${key}")
stream = client.chat.completions.create(
    model=${quoted},
    messages=[{"role": "user", "content": "Hello"}],
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="")`,
    JavaScript: `// npm install openai
import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${base}", apiKey: "${key}" });
const stream = await client.chat.completions.create({
  model: ${quoted},
  messages: [{ role: "user", content: "Hello" }],
  stream: true,
});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? "");`,
    "Any client of OpenAI's": `export OPENAI_BASE_URL=${base}
export OPENAI_API_KEY=${shell(key)}`,
    "Claude Code": `export ANTHROPIC_BASE_URL=${root}
export ANTHROPIC_AUTH_TOKEN=${shell(key)}
export ANTHROPIC_MODEL=${shell(model)}
export ANTHROPIC_DEFAULT_HAIKU_MODEL=${shell(model)}
claude`,
    Codex: `# ~/.codex/config.toml${keyed ? "; the key: export LATENTMESH_API_KEY='YOUR KEY'" : ""}
model = ${quoted}
model_provider = "latentmesh"

[model_providers.latentmesh]
name = "Latentmesh"
base_url = "${base}"
wire_api = "responses"${keyed ? '\nenv_key = "LATENTMESH_API_KEY"' : ""}`,
  };
}

/** The panel. @param {object} parts its elements @returns {(model: string, keyed: boolean) => void} tells it what there is */
export function connect({ choice, snippet, buttons }) {
  let shown = {};
  const show = () => snippet.textContent = shown[choice.value] ?? "";
  for (const name of Object.keys(snippets({ root: "", model: "", keyed: false }))) choice.append(new Option(name));
  choice.addEventListener("change", show);
  buttons.append(copyButton(() => snippet.textContent, "Copy this snippet"));
  let known = "";
  return (model, keyed) => {
    if (known === `${keyed} ${model}`) return;
    known = `${keyed} ${model}`;
    shown = snippets({ root: new URL(".", location.href).href.replace(/\/$/, ""), model, keyed });
    show();
  };
}
