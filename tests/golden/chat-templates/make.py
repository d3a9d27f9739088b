"""Renders conversations by transformers, for tests/core/text/jinja/published_templates_test.ts.

    pip install --target py transformers==5.18.0 jinja2==3.1.6
    PYTHONPATH=py python make.py

Conversations are our own. Templates are those beside this file; sources.md says where they come from.
"""
import gzip, json, pathlib, random
from transformers.utils.chat_template_utils import render_jinja_template

here = pathlib.Path(__file__).parent
rng = random.Random(20261129)
TEXTS = ["", "A kettle.", "  spaces around \n", "Ça va? 水を沸かす 🫖", "<b>\"quoted\" & 'both'</b>", "a\\nb\n\nc\t", "</think> in text", "None", "{\"a\": 1}", "\u2028\u00a0end"]
ARGS = [
    "{}", "{\"litres\": 2}", "{\"litres\": 2.0, \"hot\": true, \"note\": null}", "{\"city\": \"Zürich\", \"tags\": [\"a\", \"b\"], \"at\": {\"x\": 1, \"y\": [-0.5, 1e-7]}}",
    "{\"id\": 12345678901234567890, \"big\": 1e22}", "{\"text\": \"line\\nbreak \\\"q\\\" \\\\ <tag> 🫖\"}", "{\"items\": {\"keys\": [], \"values\": \"v\"}, \"get\": \"g\"}",
]
TOOLS = [
    {"type": "function", "function": {"name": "boil", "description": "Boils water; it's \"hot\" <100 °C>", "parameters": {"type": "object", "properties": {
        "litres": {"type": "number", "minimum": 0.0, "maximum": 1.0e3, "default": 1.0}, "items": {"type": "array", "items": {"type": "string"}}}, "required": ["litres"]}}},
    {"type": "function", "function": {"name": "get_weather", "description": "天気", "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "enum": ["Oslo", "Zürich"]}, "max": {"type": "integer", "maximum": 98765432109876543210}}, "additionalProperties": False}}},
    {"type": "function", "function": {"name": "nothing", "parameters": {"type": "object", "properties": {}}}},
]


# What templates of different families are told of reasoning.
VARIABLES = [{}, {"enable_thinking": False}, {"thinking": True, "reasoning_effort": "high"}, {"enable_thinking": True, "thinking": False}]


def call(i):
    return {"id": f"call{i:05d}", "type": "function", "function": {"name": rng.choice(TOOLS)["function"]["name"], "arguments": rng.choice(ARGS)}}


def conversation(n):
    messages, number = [], 0
    if n % 3 != 0:
        messages.append({"role": "system", "content": rng.choice(TEXTS[1:])})
    for _ in range(rng.randint(1, 3)):
        messages.append({"role": "user", "content": rng.choice(TEXTS)})
        while rng.random() < 0.6:
            calls = [call(number + i) for i in range(rng.randint(1, 3))]
            number += len(calls)
            message = {"role": "assistant", "content": rng.choice([None, "", "I will look. "]), "tool_calls": calls}
            if rng.random() < 0.4:
                message["reasoning_content"] = rng.choice(TEXTS)
            messages.append(message)
            messages += [{"role": "tool", "tool_call_id": one["id"], "content": rng.choice(TEXTS)} for one in calls]
        if rng.random() < 0.8:
            message = {"role": "assistant", "content": rng.choice(TEXTS)}
            if rng.random() < 0.5:
                message["reasoning_content"] = rng.choice(TEXTS)
            messages.append(message)
    if messages[-1]["role"] == "assistant":
        messages.append({"role": "user", "content": rng.choice(TEXTS)})
    tools = rng.sample(TOOLS, rng.randint(1, 3)) if n % 2 == 0 else []
    return {"messages": messages, "tools": tools, "variables": VARIABLES[n // 2 % len(VARIABLES)]}


def prepared(messages, arguments, none):
    result = []
    for message in messages:
        message = dict(message)
        if "tool_calls" in message:
            if message["content"] is None and not none:
                message["content"] = ""
            if arguments == "object":
                message["tool_calls"] = [{**one, "function": {**one["function"], "arguments": json.loads(one["function"]["arguments"])}} for one in message["tool_calls"]]
        result.append(message)
    return result


def render(template, case, arguments, none, tokens):
    try:
        rendered, _ = render_jinja_template([prepared(case["messages"], arguments, none)], tools=case["tools"] or None, chat_template=template,
                                            add_generation_prompt=True, **case["variables"], **tokens)
        return rendered[0]
    except Exception as error:
        return None


def main(folder, out):
    cases = [conversation(n) for n in range(40)]
    meta = json.loads((folder / "templates.json").read_text())
    golden = {"conversations": cases, "templates": {}}
    for name, settings in meta.items():
        template = (folder / f"{name}.jinja").read_text()
        tokens = {key: settings[key] for key in ("bos_token", "eos_token")}
        texts = [render(template, case, settings["arguments"], settings["none"], tokens) for case in cases]
        print(name, sum(text is None for text in texts), "refused")
        golden["templates"][name] = {**settings, "rendered": texts}
    out.write_bytes(gzip.compress(json.dumps(golden, ensure_ascii=False).encode(), mtime=0))


if __name__ == "__main__":
    import sys
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here
    main(folder, folder / "golden.json.gz")
