// How other programs ask this server: snippets with its address, its model, and the place of a key.

/** Snippets by their names. @param base address of the API @param keyed whether a key is asked for */
export function snippets({ base, model, keyed }) {
  const quoted = JSON.stringify(model);
  const body = JSON.stringify({ model, messages: [{ role: "user", content: "Hello" }] }).replaceAll("'", "'\\''");
  return {
    Python: `from openai import OpenAI

client = OpenAI(base_url="${base}", api_key="${keyed ? "YOUR KEY" : "none"}")
answer = client.chat.completions.create(
    model=${quoted},
    messages=[{"role": "user", "content": "Hello"}],
)
print(answer.choices[0].message.content)`,
    JavaScript: `import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${base}", apiKey: "${keyed ? "YOUR KEY" : "none"}" });
const answer = await client.chat.completions.create({
  model: ${quoted},
  messages: [{ role: "user", content: "Hello" }],
});
console.log(answer.choices[0].message.content);`,
    curl: `curl ${base}/chat/completions \\
  -H 'content-type: application/json' \\${keyed ? "\n  -H 'authorization: Bearer YOUR KEY' \\" : ""}
  -d '${body}'`,
    Environment: `export OPENAI_BASE_URL=${base}
export OPENAI_API_KEY=${keyed ? "'YOUR KEY'" : "none"}`,
  };
}

/** The panel. @returns what tells it which model there is, and whether a key is asked for */
export function connect({ choice, snippet, copy }) {
  let shown = {};
  const show = () => {
    snippet.textContent = shown[choice.value] ?? "";
    copy.textContent = "Copy";
  };
  choice.addEventListener("change", show);
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(snippet.textContent);
      copy.textContent = "Copied";
    } catch {
      // Pages that came without TLS from another host have no clipboard: what is to be copied is marked.
      getSelection().selectAllChildren(snippet);
      copy.textContent = "Marked: press Ctrl+C";
    }
  });
  let known = "";
  return (model, keyed) => {
    if (known === `${keyed} ${model}`) return;
    known = `${keyed} ${model}`;
    shown = snippets({ base: new URL("v1", location.href).href, model, keyed });
    show();
  };
}
