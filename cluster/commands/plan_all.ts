/**
 * `plan`: of one model, or of each of several.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { withModelDescribed } from "../config/fetch_model.ts";
import type { Settings } from "../config/settings.ts";
import type { SeveralModels } from "../config/several_models.ts";
import { log, printLine } from "../logs/log.ts";
import { type ChoiceServices, chooseUnits } from "../planning/choose_units.ts";
import { compare, type Comparison, printComparison } from "./compare.ts";
import { type ClusterPlan, planCluster, printPlan } from "./plan.ts";

/** Prints what settings come to, or the ways that there are side by side. @returns whether all models can be planned, where there are several */
export async function planAll(
  given: Settings,
  services: ChoiceServices,
  { json, comparing }: { readonly json: boolean; readonly comparing: boolean },
): Promise<boolean> {
  const plan = async (of: Settings) => {
    const settings = await withModelDescribed(of);
    return comparing ? await compare(settings, services) : await planCluster((await chooseUnits(settings, services)).settings, services);
  };
  if (given.several !== null) return await printPlans(given.several, plan, json);
  printPlanned(await plan(given), json);
  return true;
}

/** Plans every model, and prints what becomes of each. @returns whether all can be planned */
async function printPlans(
  { models }: SeveralModels<Settings>,
  plan: (settings: Settings) => Promise<ClusterPlan | Comparison>,
  json: boolean,
): Promise<boolean> {
  const plans = await Promise.all(models.map(async ({ name, settings }) => {
    try {
      return { name, planned: await plan(settings) };
    } catch (error) {
      // What users can do nothing about is a bug, and ends the command.
      if (error instanceof LatentmeshError && error.code !== "internal") return { name, error };
      throw error;
    }
  }));
  if (json) {
    const shown = ({ planned, error }: (typeof plans)[number]) =>
      planned === undefined ? { error: error.message } : "ways" in planned ? planned.ways : planned;
    printLine(JSON.stringify(Object.fromEntries(plans.map((one) => [one.name, shown(one)]))));
  }
  for (const { name, planned, error } of plans) {
    if (error !== undefined) log("error", `Of model "${name}": ${error.message}`);
    if (json || planned === undefined) continue;
    printLine(`# ${name}`);
    printPlanned(planned, false);
    printLine("");
  }
  return plans.every(({ error }) => error === undefined);
}

function printPlanned(planned: ClusterPlan | Comparison, json: boolean): void {
  if ("ways" in planned) printComparison(planned, json);
  else printPlan(planned, json);
}
