/**
 * The part of `@std/testing/bdd` that the tests use, over `Deno.test` and its steps, which keeps the leak sanitizers at work. The import map points the
 * real name here because JSR is not reachable from every build machine; with JSR at hand two lines of deno.json change and nothing else. What does not end
 * fails by name, and the rest goes on.
 *
 * @module
 */
import { abortableFetch } from "../../core/net/abortable_fetch.ts";
import { endsWithin } from "./ends_within.ts";

// Clients that leave do so whenever garbage is collected, those of other people too.
globalThis.fetch = abortableFetch as typeof fetch;

type Body = () => void | Promise<void>;
interface Suite {
  readonly name: string;
  readonly children: (Suite | Case)[];
  readonly hooks: Record<"beforeAll" | "afterAll" | "beforeEach" | "afterEach", Body[]>;
}
interface Case {
  readonly name: string;
  readonly body: Body;
  readonly ignore: boolean;
}

const open: Suite[] = [];

function newSuite(name: string): Suite {
  return { name, children: [], hooks: { beforeAll: [], afterAll: [], beforeEach: [], afterEach: [] } };
}

/** Groups tests. */
export function describe(name: string, body: () => void): void {
  const suite = newSuite(name);
  open.push(suite);
  body();
  open.pop();
  const parent = open.at(-1);
  if (parent !== undefined) parent.children.push(suite);
  else Deno.test(name, (t) => runSuite(t, suite, []));
}

/** One test. */
export function it(name: string, body: Body): void {
  register({ name, body, ignore: false });
}

/** A test that is reported but not run. */
it.skip = (name: string, body: Body = () => {}): void => register({ name, body, ignore: true });

export function beforeAll(body: Body): void {
  open.at(-1)!.hooks.beforeAll.push(body);
}

export function afterAll(body: Body): void {
  open.at(-1)!.hooks.afterAll.push(body);
}

export function beforeEach(body: Body): void {
  open.at(-1)!.hooks.beforeEach.push(body);
}

export function afterEach(body: Body): void {
  open.at(-1)!.hooks.afterEach.push(body);
}

function register(test: Case): void {
  const suite = open.at(-1);
  if (suite !== undefined) suite.children.push(test);
  else Deno.test({ name: test.name, ignore: test.ignore, fn: () => endsWithin(test.name, test.body) });
}

async function runSuite(t: Deno.TestContext, suite: Suite, outer: readonly Suite[]): Promise<void> {
  const suites = [...outer, suite];
  for (const hook of suite.hooks.beforeAll) await endsWithin(`what comes before ${suite.name}`, hook);
  try {
    for (const child of suite.children) {
      if ("children" in child) await t.step(child.name, (step) => runSuite(step, child, suites));
      else await t.step({ name: child.name, ignore: child.ignore, fn: () => runCase(child, suites) });
    }
  } finally {
    for (const hook of suite.hooks.afterAll.toReversed()) await endsWithin(`what comes after ${suite.name}`, hook);
  }
}

async function runCase(test: Case, suites: readonly Suite[]): Promise<void> {
  for (const suite of suites) for (const hook of suite.hooks.beforeEach) await endsWithin(`what comes before ${test.name}`, hook);
  try {
    await endsWithin(test.name, test.body);
  } finally {
    for (const suite of suites.toReversed()) {
      for (const hook of suite.hooks.afterEach.toReversed()) await endsWithin(`what comes after ${test.name}`, hook);
    }
  }
}
