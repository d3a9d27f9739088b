/**
 * What each worker of a cluster will take of its device, before anything is loaded.
 *
 * @module
 */
import { mayHaveMatrixUnits } from "../../core/device_kind.ts";
import type { ModelDescription } from "../../core/model_package.ts";
import { groupPlace } from "../../core/tpla/group_place.ts";
import type { RankShape } from "../../core/tpla/partition.ts";
import { cacheBytesPerToken, cachedWidth, perToken, type RankMemory } from "../../core/tpla/plan.ts";
import { resolveBasis } from "../../core/tpla/scheme.ts";
import { assignmentOf, type CachePlan, ClusterModel, resolveCuts } from "./assignment.ts";
import type { UnitRole } from "../../core/wire/protocol.ts";
import type { PlanServices } from "./services.ts";
import type { Settings } from "../config/settings.ts";
import { planUnits, type Slot } from "./topology.ts";

/** One worker of a plan. */
export interface RankPlan extends RankMemory {
  readonly slot: Slot;
  readonly role: UnitRole;
  /** Values cached per token and layer; a mean, where this rank keeps some tokens and not others. */
  readonly cachedWidth: number;
  /** The same in bytes, of all layers. */
  readonly cachedBytesPerToken: number;
}

/** Plans every worker. @param directory of the model @throws {LatentmeshError} if it does not fit a device's bindings */
export async function planRanks(
  settings: Settings,
  model: ModelDescription,
  directory: string,
  cache: CachePlan,
  { planMemory }: Pick<PlanServices, "planMemory">,
): Promise<RankPlan[]> {
  const { shapes, promptShapes } = resolveCuts(settings, model);
  const { spec } = model;
  const matrixUnits = mayHaveMatrixUnits(settings.device);
  const known = new Map<RankShape, RankMemory>();
  const clusterModel = new ClusterModel(model, { directory, basisFile: null }, { model: "", basis: null });
  const ranks: RankPlan[] = [];
  for (const unit of planUnits(settings)) {
    for (const slot of unit.slots) {
      const shape = shapes[unit.role][slot.rank];
      const assignment = assignmentOf(settings, clusterModel, unit, slot, cache);
      const memory = known.get(shape) ??
        await planMemory({
          ...assignment,
          group: groupPlace(assignment),
          model: directory,
          shape,
          promptShape: promptShapes[slot.rank],
          changesBasis: resolveBasis(settings.decode.scheme) !== null,
          matrixUnits,
        });
      known.set(shape, memory);
      ranks.push({
        ...memory,
        slot,
        role: unit.role,
        cachedWidth: perToken(shape, cachedWidth(spec, shape)),
        cachedBytesPerToken: perToken(shape, cacheBytesPerToken(spec, shape, cache.dtype, cache.indexDtype)),
      });
    }
  }
  return ranks;
}
