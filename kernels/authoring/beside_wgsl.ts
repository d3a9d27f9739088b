/**
 * WGSL of two kernels in one dispatch; see `beside.ts`.
 *
 * @module
 */
import { MOST_GROUPS } from "./contract.ts";

/** One of two kernels. */
export type Side = "first" | "second";

/** The source of one kernel. */
export interface SideSource {
  readonly source: string;
  /** Those that it declares, in order. */
  readonly bindings: readonly string[];
  /** Those of the second that are the first's, by the first's names. */
  readonly same?: Readonly<Record<string, string>>;
}

const WORKGROUP_VARIABLE = /^var<workgroup> (\w+)_(?:first|second): (?:array<(.+?), (.+)>|(.+));.*$/gm;
const ENTRY = /@compute\s+@workgroup_size\(([^)]*)\)\s*fn main\(([^)]*(?:\([^)]*\)[^)]*)*)\)\s*\{/;
const DECLARATION = /^(?:@group\(0\) @binding\(\d+\) )?(?:const|fn|alias|struct|var<[^>]*>)\s+([A-Za-z_]\w*)/gm;

/** What an entry point may ask for, and what it is given here. */
const BUILTINS: Readonly<Record<string, string>> = { workgroup_id: "id", local_invocation_index: "thread", subgroup_id: "subgroup" };

/**
 * One source of two. Every name that a source declares is made its own, and its parameters, `params.items` say, become `params.first_items`; `columns_of_first`,
 * `groups_of_first` and the same of the second say how many workgroups each has in x and in all.
 *
 * @param alike whether both are one kernel: then they share its variables in workgroup memory, since a workgroup is only one of the two
 * @throws {TypeError} if a kernel asks for more than its workgroup, the index of its thread and its subgroup
 */
export function besideWgsl(first: SideSource, second: SideSource, alike: boolean): string {
  const sides = [renamed("first", first, 1), renamed("second", second, 1 + first.bindings.length)] as const;
  const [a, b] = alike ? withSharedMemory(...sides) : sides;
  const subgroup = [a, b].some(({ call }) => /\bsubgroup\b/.test(call)) ? ", @builtin(subgroup_id) subgroup: u32" : "";
  return `${a.source}
${b.source}
const_assert ${a.threads} == ${b.threads};

@compute @workgroup_size(${a.threads})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32${subgroup}) {
  let index = group.y * ${MOST_GROUPS}u + group.x;
  if (index < params.groups_of_first) {
    let id = vec3(index % params.columns_of_first, index / params.columns_of_first, 0u);
    ${a.call};
  } else if (index - params.groups_of_first < params.groups_of_second) {
    let id = vec3((index - params.groups_of_first) % params.columns_of_second, (index - params.groups_of_first) / params.columns_of_second, 0u);
    ${b.call};
  }
}
`;
}

interface Renamed {
  readonly source: string;
  readonly threads: string;
  readonly call: string;
}

/** Arrays have the length of the longer one; what only one of the two declares, as its configuration asks for, stays its own. */
function withSharedMemory(a: Renamed, b: Renamed): readonly [Renamed, Renamed] {
  const variablesOf = ({ source }: Renamed) => new Map([...source.matchAll(WORKGROUP_VARIABLE)].map(([, name, , length]) => [name, length]));
  const [ofFirst, ofSecond] = [variablesOf(a), variablesOf(b)];
  const first = a.source.replace(WORKGROUP_VARIABLE, (declaration, name: string, element: string | undefined, length: string) => {
    const other = ofSecond.get(name);
    return element === undefined || !ofSecond.has(name)
      ? declaration
      : `var<workgroup> ${name}_first: array<${element}, select(${length}, ${other}, (${other}) > (${length}))>;`;
  });
  const second = [...ofSecond.keys()].filter((name) => ofFirst.has(name)).reduce(
    (source, name) => source.replaceAll(new RegExp(`\\b${name}_second\\b`, "g"), `${name}_first`),
    b.source.replace(WORKGROUP_VARIABLE, (declaration, name: string) => ofFirst.has(name) ? "" : declaration),
  );
  return [{ ...a, source: first }, { ...b, source: second }];
}

function renamed(side: Side, { source, bindings, same = {} }: SideSource, firstBinding: number): Renamed {
  const entry = ENTRY.exec(source);
  if (entry === null) throw new TypeError("Cannot put a kernel beside another: it has no entry point");
  const [head, threads, parameters] = entry;
  const asked = parameters.split(/,\s*(?=@)/).map((parameter) => {
    const [, builtin, name, type] = /^@builtin\((\w+)\)\s*(\w+):\s*([\w<>]+),?\s*$/.exec(parameter.trim()) ?? [];
    if (!(builtin in BUILTINS)) throw new TypeError(`Cannot put a kernel beside another: it asks for ${parameter}`);
    return { argument: BUILTINS[builtin], declared: `${name}: ${type}` };
  });
  // Bindings are numbered in the order of the kernel's; those that are the other's are declared there.
  let text = source.replace(head, `fn main(${asked.map(({ declared }) => declared).join(", ")}) {`);
  text = text.replace(
    /^@group\(0\) @binding\(\d+\) (var<[^>]*> (\w+):[^\n]*)$/gm,
    (_, declaration: string, name: string) => name in same ? "" : `@group(0) @binding(${firstBinding + bindings.indexOf(name)}) ${declaration}`,
  );
  const names = new Set([...text.matchAll(DECLARATION)].map(([, name]) => name));
  const own = (name: string) => `${name}_${side}`;
  text = text.replace(/\bparams\.(\w+)/g, (_, name: string) => `params.${side}_${name}`);
  text = text.replace(/(?<![.\w])[A-Za-z_]\w*/g, (name) => names.has(name) ? own(name) : name in same ? `${same[name]}_first` : name);
  const count = names.has(threads) ? own(threads) : threads;
  return { source: text, threads: count, call: `${own("main")}(${asked.map(({ argument }) => argument).join(", ")})` };
}
