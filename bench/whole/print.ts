/**
 * Tables of what was found.
 *
 * @module
 */
import { isHostChoice } from "../../core/device_kind.ts";
import { formatBytes } from "../../cluster/logs/log.ts";
import { printTable } from "../table.ts";
import { nameOf, type Run } from "./options.ts";
import type { CaseResult, PartsOfOne, PromptShare, RunResult, Spread, StepFloor, StepShare } from "./result.ts";
import { wholeMs } from "./shares.ts";

/** How a run is named. */
export function runName({ device, ranks, mixed, attention }: Run): string {
  if (ranks === null) return `${device}, one process`;
  if (mixed) return `${device}, ${ranks === 1 ? "one mixed worker" : `a mixed unit of ${ranks} ranks${attention === "mla" ? "" : `, ${attention}`}`}`;
  return `${device}, ${ranks === 1 ? "one rank" : `${ranks} ranks`}, ${attention}`;
}

/** Prints one server's cases. */
export function printRun(run: RunResult): void {
  const { description, summary, bytesPerSecond, readySeconds, cachedBytesPerToken, cases } = run;
  console.log(`\n${runName(run)}: ${description}, reads ${formatBytes(bytesPerSecond)}/s; ready after ${readySeconds.toFixed(1)} s`);
  console.log(summary);
  console.log(cachedBytesPerToken === undefined ? "" : `a rank caches ${formatBytes(cachedBytesPerToken)} of a token, all layers\n`);
  printTable([
    [
      "batch x context",
      "first token p50, max s",
      "prefill tokens/s",
      "first 64 steps p50, p99 ms",
      "later steps p50, p99 ms",
      "tokens/s",
      "ms/step by the server",
    ],
    ...cases.map((one) => [nameOf(one), ...(one.times === null ? ["failed", "", "", "", "", ""] : clientCells(one))]),
  ]);
  const taken = cases.filter(({ step }) => step !== null);
  if (taken.length > 0) {
    console.log(
      `\nwhere a step goes, in ms, as the server counts (means)${isHostChoice(run.device) ? "; on the CPU, recording is computing" : ""}:\n`,
    );
    printTable([["", ...taken.map(nameOf)], ...shareRows(taken, run.host)]);
  }
  const prompts = cases.filter(({ prompt }) => prompt !== null);
  if (prompts.length > 0) {
    console.log(`\nwhere a prompt goes, in ms, as its worker counts (means):\n`);
    printTable([["", ...prompts.map(nameOf)], ...promptRows(prompts)]);
  }
  for (const { error, ...one } of cases) if (error !== null) console.log(`\n${nameOf(one)} failed: ${error}`);
}

function clientCells({ times, step }: CaseResult): string[] {
  const { firstToken, prefillTokensPerSecond, firstSteps, laterSteps, tokensPerSecond } = times!;
  return [
    `${(firstToken.p50 / 1000).toFixed(2)}, ${(firstToken.max / 1000).toFixed(2)}`,
    prefillTokensPerSecond.toFixed(0),
    spread(firstSteps),
    laterSteps === null ? "" : spread(laterSteps),
    tokensPerSecond.toFixed(1),
    step === null ? "" : ms(step.stepMs),
  ];
}

function spread({ p50, p99 }: Spread): string {
  return `${ms(p50)}, ${ms(p99)}`;
}

function ms(value: number): string {
  return (Math.abs(value) < 0.005 ? 0 : value).toFixed(value < 10 ? 2 : 1);
}

/** What prefill does with a prompt. */
function promptRows(cases: readonly CaseResult[]): string[][] {
  const row = (name: string, of: (prompt: PromptShare) => string) => [name, ...cases.map(({ prompt }) => of(prompt!))];
  const part = (name: string, of: (parts: PartsOfOne) => number) => row(name, ({ parts }) => ms(of(parts)));
  return [
    part("a prompt", wholeMs),
    ...partRows("  ", part),
    part("  handing over", ({ handoffMs }) => handoffMs),
    part("  the rest of the worker", ({ restMs }) => restMs),
    row("beside it: the device", ({ parts: { deviceMs } }) => deviceMs === null ? "?" : ms(deviceMs)),
    row("chunks, submissions", ({ chunks, parts }) => `${chunks.toFixed(0)}, ${parts.submissions.toFixed(0)}`),
  ];
}

/** Parts that prompts and steps have. */
function partRows(indent: string, part: (name: string, of: (parts: PartsOfOne) => number) => string[]): string[][] {
  return [
    part(`${indent}recording`, ({ recordMs }) => recordMs),
    part(`${indent}encoding ahead`, ({ encodeMs }) => encodeMs),
    part(`${indent}submitting`, ({ submitMs }) => submitMs),
    part(`${indent}waiting for the device`, ({ readbackMs }) => readbackMs),
    part(`${indent}waiting for other ranks`, ({ peerMs }) => peerMs),
    part(`${indent}adding and uploading`, ({ sumMs }) => sumMs),
  ];
}

/** From the outside in: what the coordinator adds, what the worker does, what goes on beside that, and what there is no way around. */
function shareRows(cases: readonly CaseResult[], host: boolean): string[][] {
  const row = (name: string, of: (step: StepShare) => string) => [name, ...cases.map(({ step }) => of(step!))];
  const part = (name: string, of: (step: StepShare) => number) => row(name, (step) => ms(of(step)));
  // There is none of a processor.
  const least = (name: string, of: (floor: StepFloor, step: StepShare) => string) => [
    name,
    ...cases.map(({ step, floor }) => host ? "?" : of(floor!, step!)),
  ];
  return [
    part("a step, from one to the next", ({ stepMs }) => stepMs),
    part("  between steps", ({ betweenMs }) => betweenMs),
    part("  asking and being answered", ({ askingMs }) => askingMs),
    part("  the rank that took longest", ({ workerMs }) => workerMs),
    row("    most of the time", ({ rank }) => rank),
    ...partRows("    ", (name, of) => part(name, ({ parts }) => of(parts))),
    part("    the rest of the worker", ({ parts }) => parts.restMs + parts.handoffMs),
    part("    where another took longer", ({ workerMs, parts }) => Math.max(0, workerMs - wholeMs(parts))),
    row("beside it: the device", ({ parts }) => parts.deviceMs === null ? "?" : ms(parts.deviceMs)),
    part("beside it: telling clients", ({ tellMs }) => tellMs),
    row("submissions, encoded ahead", ({ parts }) => `${parts.submissions.toFixed(0)}, ${parts.submissionsAhead.toFixed(0)}`),
    least("floor", ({ totalMs }) => ms(totalMs)),
    least("  reading", ({ readMs }) => ms(readMs)),
    least("    weights, latents", ({ weightBytes, latentBytes }) => `${formatBytes(weightBytes)}, ${formatBytes(latentBytes)}`),
    least("  sums, each by itself", ({ sumMs }, { sums }) => sumMs === 0 ? "none" : `${sums.toFixed(0)} x ${sumMs.toFixed(3)}`),
  ];
}
