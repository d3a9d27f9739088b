/**
 * Tools that a request for a response offers: functions, some of them in namespaces, and others, which are left out.
 *
 * @module
 */
import { HttpError } from "../api/errors.ts";
import type { FunctionTool, NamespaceTool, ResponsesRequest } from "../api/responses_schema.ts";
import type { Namespaces } from "./jobs.ts";

/** What becomes of the tools of a request. */
export interface OfferedTools {
  /** By what the model calls them. */
  readonly functions: readonly FunctionTool[];
  /** Those of namespaces, by what the model calls them. */
  readonly namespaces: Namespaces;
  /** Types of what is left out. */
  readonly leftOut: readonly string[];
}

type AnyTool = NonNullable<ResponsesRequest["tools"]>[number];

/** Sorts tools. */
export function offeredTools(tools: readonly AnyTool[] = []): OfferedTools {
  const functions: FunctionTool[] = [];
  const namespaces: Record<string, { namespace: string; name: string }> = Object.create(null);
  const leftOut = new Set<string>();
  const take = (tool: NamespaceTool["tools"][number], namespace?: string) => {
    if (!isFunction(tool)) return void leftOut.add(tool.type);
    const name = nameIn(namespace, tool.name);
    functions.push({ ...tool, name });
    if (namespace !== undefined) namespaces[name] = { namespace, name: tool.name };
  };
  for (const tool of tools) {
    if (isNamespace(tool)) { for (const member of tool.tools) take(member, tool.name); }
    else take(tool);
  }
  return { functions, namespaces: { ...namespaces }, leftOut: [...leftOut] };
}

/** What the model calls a function of a namespace. */
export function nameIn(namespace: string | undefined, name: string): string {
  return namespace === undefined ? name : `${namespace}__${name}`;
}

/** The functions that a choice leaves. @throws {HttpError} 400 if it allows one that there is none of */
export function allowedFunctions(functions: readonly FunctionTool[], choice: ResponsesRequest["tool_choice"]): readonly FunctionTool[] {
  if (typeof choice !== "object" || !("mode" in choice)) return functions;
  const missing = choice.tools.find(({ name }) => !functions.some((tool) => tool.name === name));
  if (missing === undefined) return functions.filter(({ name }) => choice.tools.some((tool) => tool.name === name));
  throw new HttpError(400, `"tool_choice" allows the tool "${missing.name}", which is not among the tools`, {
    param: "tool_choice",
    code: "invalid_value",
  });
}

function isFunction(tool: AnyTool): tool is FunctionTool {
  return tool.type === "function";
}

function isNamespace(tool: AnyTool): tool is NamespaceTool {
  return tool.type === "namespace";
}
