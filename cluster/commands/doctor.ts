/**
 * `doctor`: looks for what would keep a configuration from working, and says what to do about it.
 *
 * @module
 */
import { isHost, WASM_MEMORY_BYTES, wasmAdvice } from "../../core/device_kind.ts";
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { modelHash } from "../../core/model/model_hash.ts";
import { readModelPackage } from "../../core/model_package.ts";
import { describeFormats } from "../../core/text/answer_formats.ts";
import { readBasis } from "../../core/tpla/basis_file.ts";
import { wholeMemory } from "../../core/tpla/plan.ts";
import { schemeNeedsCalibration } from "../planning/assignment.ts";
import { formatBytes, printLine } from "../logs/log.ts";
import { type ChoiceServices, chooseUnits } from "../planning/choose_units.ts";
import { idleAdvice } from "../planning/topology.ts";
import type { PlanServices } from "../planning/services.ts";
import { withModelDescribed } from "../config/fetch_model.ts";
import { freeSpaceAbove } from "../hub/disk_space.ts";
import { readHubAccess } from "../hub/hub_access.ts";
import { parseHubName } from "../hub/hub_name.ts";
import { isRemote, remoteFiles } from "../hub/remote_files.ts";
import { RepositoryCache } from "../hub/repository_cache.ts";
import { toFetch } from "../hub/to_fetch.ts";
import type { Settings } from "../config/settings.ts";
import { readTls } from "../config/tls.ts";
import { whyNotListening } from "../http/server/why_not_listening.ts";
import { planCluster } from "./plan.ts";

/** One finding. */
export interface Finding {
  readonly state: "ok" | "note" | "fail";
  readonly subject: string;
  readonly text: string;
}

/** Examines everything; failures are findings, never thrown. */
export async function examine(given: Settings, services: ChoiceServices): Promise<Finding[]> {
  const described = await describe(given);
  const { settings, finding } = "settings" in described ? await units(described.settings, services) : { settings: given, finding: [] };
  return [
    deno(),
    ...await devices(settings, services),
    ...finding,
    ...idle(settings),
    port("server", settings.host, settings.port),
    ...joinPort(settings),
    ...certificates(settings),
    await processes(),
    ...("settings" in described ? await modelAndMemory(settings, services) : [described.finding]),
  ];
}

/** The same of each of several models; what is found of all of them is said once. */
export async function examineAll(given: Settings, services: ChoiceServices): Promise<Finding[]> {
  if (given.several === null) return await examine(given, services);
  const each: { readonly name: string; readonly findings: readonly Finding[] }[] = [];
  for (const { name, settings } of given.several.models) each.push({ name, findings: await examine(settings, services) });
  const same = (a: Finding) => (b: Finding) => a.state === b.state && a.subject === b.subject && a.text === b.text;
  const ofAll = each[0].findings.filter((finding) => each.every(({ findings }) => findings.some(same(finding))));
  const ofOne = each.flatMap(({ name, findings }) =>
    findings.filter((finding) => !ofAll.some(same(finding))).map((finding) => ({ ...finding, text: `${name}: ${finding.text}` }))
  );
  return [...ofAll, ...ofOne];
}

/** Where the model can be read, or why it cannot be had. */
async function describe(settings: Settings): Promise<{ readonly settings: Settings } | { readonly finding: Finding }> {
  try {
    return { settings: await withModelDescribed(settings) };
  } catch (error) {
    return { finding: { state: "fail", subject: "model", text: messageOf(error) } };
  }
}

/** Prints findings. @returns whether nothing failed */
export function printFindings(findings: readonly Finding[]): boolean {
  for (const { state, subject, text } of findings) printLine(`${state.padEnd(4)}  ${subject.padEnd(9)} ${text}`);
  const failed = findings.filter(({ state }) => state === "fail").length;
  printLine(failed === 0 ? "Everything is in order." : `${failed} ${failed === 1 ? "thing keeps" : "things keep"} this from working.`);
  return failed === 0;
}

/** Which units there would be, and why, where that is left to `serve`. */
async function units(given: Settings, services: ChoiceServices): Promise<{ readonly settings: Settings; readonly finding: readonly Finding[] }> {
  try {
    const { settings, reason } = await chooseUnits(given, services);
    return { settings, finding: reason === null ? [] : [{ state: "ok", subject: "units", text: reason }] };
  } catch (error) {
    // Why the device or the model cannot be used is a finding of its own.
    const refused = error instanceof LatentmeshError && error.code === "invalid_config";
    return { settings: given, finding: refused ? [{ state: "fail", subject: "units", text: error.message }] : [] };
  }
}

/** GPUs that would have nothing to do. */
function idle(settings: Settings): Finding[] {
  try {
    const text = idleAdvice(settings);
    return text === null ? [] : [{ state: "note", subject: "gpus", text }];
  } catch (error) {
    if (!(error instanceof LatentmeshError)) throw error;
    // Why units cannot be placed is found where they are planned.
    return [];
  }
}

function deno(): Finding {
  const [major, minor] = Deno.version.deno.split(".").map(Number);
  if (major > 2 || (major === 2 && minor >= 9)) return { state: "ok", subject: "deno", text: Deno.version.deno };
  return { state: "fail", subject: "deno", text: `${Deno.version.deno}; 2.9 is the least: npx -y deno@2.9.6 task …` };
}

async function devices(settings: Settings, services: PlanServices): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const choice of ["deno", "dawn", "wasm"] as const) {
    const wanted = settings.device === choice;
    if (choice === "dawn" && settings.dawn === undefined && !wanted) {
      findings.push({
        state: "note",
        subject: "device",
        text: "dawn: LATENTMESH_DAWN is not set; not needed unless you want its matrix units, and --device dawn fetches it",
      });
      continue;
    }
    try {
      const { description, limits } = await services.probeDevice(choice, settings.dawn);
      const text = `${choice}: ${description}; bindings of up to ${formatBytes(limits.maxBindingBytes)}`;
      findings.push({ state: "ok", subject: "device", text });
    } catch (error) {
      findings.push({ state: wanted ? "fail" : "note", subject: "device", text: `${choice}: ${messageOf(error)}` });
    }
  }
  try {
    const { kind, reason, advice } = await services.probeDevice(settings.device, settings.dawn);
    findings.push({ state: "ok", subject: "device", text: `--device ${settings.device} takes ${kind}: ${reason}` });
    if (advice !== undefined) findings.push({ state: "note", subject: "device", text: advice });
  } catch (error) {
    findings.push({ state: "fail", subject: "device", text: messageOf(error) });
  }
  return findings;
}

function port(subject: string, hostname: string, port: number): Finding {
  if (port === 0) return { state: "ok", subject, text: `${hostname}, any free port` };
  try {
    Deno.listen({ hostname, port }).close();
    return { state: "ok", subject, text: `${hostname}:${port} is free` };
  } catch (error) {
    return { state: "fail", subject, text: `${hostname}:${port}: ${whyNotListening(error)}` };
  }
}

function joinPort({ cluster }: Settings): Finding[] {
  if (cluster.listen === undefined) return [];
  const url = new URL(cluster.listen.replace(/^ws/, "http"));
  return [port("join", url.hostname.replace(/^\[|\]$/g, ""), Number(url.port))];
}

/** Files that links between hosts need. */
function certificates({ cluster: { listen, tls } }: Settings): Finding[] {
  if (listen === undefined || Object.values(tls).every((path) => path === undefined)) return [];
  try {
    readTls(tls);
    return [{ state: "ok", subject: "tls", text: "certificate, key and authority can be read, as far as they are named" }];
  } catch (error) {
    return [{ state: "fail", subject: "tls", text: messageOf(error) }];
  }
}

/** Workers are processes of their own that meet at Unix sockets. */
async function processes(): Promise<Finding> {
  const { state } = await Deno.permissions.query({ name: "run", command: Deno.execPath() });
  if (state !== "granted") {
    return { state: "fail", subject: "workers", text: "no permission to start processes; run with --allow-run, or serve with --single" };
  }
  return { state: "ok", subject: "workers", text: "processes can be started" };
}

async function model(settings: Settings, services: PlanServices): Promise<Finding[]> {
  using files = services.openFiles(settings.model);
  try {
    const model = await readModelPackage(files);
    const { spec } = model;
    const findings: Finding[] = [{
      state: "ok",
      subject: "model",
      text: `${files.name}: ${spec.layers} layers, latent of ${spec.latentWidth}, context of ${spec.maxPositions}`,
    }];
    if (model.chatTemplate === null) findings.push({ state: "note", subject: "model", text: "no chat template: only completions will work" });
    else findings.push({ state: "ok", subject: "answers", text: describeFormats({ tokenizer: model.tokenizer, chatTemplate: model.chatTemplate }) });
    if (isRemote(settings.model)) return [...findings, await download(settings)];
    if (!schemeNeedsCalibration(settings)) return findings;
    const hash = await modelHash(model.configText, model.checkpoint);
    const source = await files.open("basis.safetensors");
    if (source === null) findings.push({ state: "note", subject: "basis", text: "no basis.safetensors; the first start will calibrate" });
    else if ((await readBasis(source, spec)).provenance.modelHash === hash) {
      findings.push({ state: "ok", subject: "basis", text: "basis.safetensors fits the model" });
    } else {findings.push({
        state: "fail",
        subject: "basis",
        text: 'basis.safetensors was made for another model; make it anew with "deno task calibrate"',
      });}
    return findings;
  } catch (error) {
    return [{ state: "fail", subject: "model", text: messageOf(error) }];
  }
}

/** Whether there is room for what is still on the hub. */
async function download({ model, hub }: Settings): Promise<Finding> {
  const { cache: root } = await readHubAccess();
  const cache = new RepositoryCache(root, hub!.repository);
  const { all, missing } = await toFetch(cache, parseHubName(model)!.revision, await remoteFiles(model).needed());
  const text = `${formatBytes(missing)} of ${formatBytes(all)} are still to be fetched, into ${root}`;
  const free = await freeSpaceAbove(root);
  if (free !== null && free < missing) {
    return { state: "fail", subject: "disk", text: `${text}, which has room for ${formatBytes(free)}; set HF_HOME to a larger disk` };
  }
  return {
    state: "note",
    subject: "disk",
    text: `${text}${free === null ? "" : ` (room for ${formatBytes(free)})`}: serve does it, or deno task pull`,
  };
}

/** What keeps a model from being read keeps it from being planned, too, and is said once. */
async function modelAndMemory(settings: Settings, services: PlanServices): Promise<Finding[]> {
  const [ofModel, ofMemory] = [await model(settings, services), await memory(settings, services)];
  return ofModel.some(({ state, text }) => state === "fail" && text === ofMemory.text) ? ofModel : [...ofModel, ofMemory];
}

async function memory(settings: Settings, services: PlanServices): Promise<Finding> {
  try {
    const { ranks, obstacle } = await planCluster(settings, services);
    if (obstacle !== null) return { state: "fail", subject: "gpus", text: obstacle };
    const local = ranks.filter(({ slot }) => !slot.remote);
    const needed = local.reduce((sum, rank) => sum + wholeMemory(rank), 0);
    const { kind } = await services.probeDevice(settings.device, settings.dawn);
    if (!isHost(kind)) return { state: "ok", subject: "memory", text: `${formatBytes(needed)} on this host's GPUs; see deno task plan` };
    const largest = local.reduce((largest, rank) => wholeMemory(rank) > wholeMemory(largest) ? rank : largest, local[0]);
    if (kind === "wasm" && local.length > 0 && wholeMemory(largest) > WASM_MEMORY_BYTES) {
      const text = `${largest.slot.name} needs ${formatBytes(wholeMemory(largest))}, and on device wasm a worker has 4 GiB at most; ${
        wasmAdvice(settings.weights)
      }`;
      return { state: "fail", subject: "memory", text };
    }
    const { available } = Deno.systemMemoryInfo();
    const text = `${formatBytes(needed)} needed, ${formatBytes(available)} available`;
    const ways = [...(local.length > 1 ? ["fewer workers"] : []), ...(settings.weights === "q4" ? [] : ["--weights q4"]), "a smaller model"];
    return needed <= available
      ? { state: "ok", subject: "memory", text }
      : { state: "fail", subject: "memory", text: `${text}; use ${ways.join(" or ")}` };
  } catch (error) {
    return { state: "fail", subject: "plan", text: messageOf(error) };
  }
}
