/**
 * Measures the few divisions on matrix units that are tried for each kind of layer.
 *
 * @module
 */
import type { StoredName } from "../support/stored.ts";
import type { Device } from "../../kernels/device/device.ts";
import { kindOf } from "../../kernels/linear/layer_kind.ts";
import type { Stopwatch } from "../roofline/stopwatch.ts";
import { compileCandidate, UNITS_TRIED } from "./candidates.ts";
import { type BenchLayer, bindable, makeLayer } from "./layers.ts";
import { timeOne } from "./timing.ts";
import type { UnitsTiming } from "./units_table.ts";

/** Times all of them. */
export async function timeUnits(
  device: Device,
  stopwatch: Pick<Stopwatch, "milliseconds">,
  layers: readonly BenchLayer[],
  format: StoredName,
): Promise<UnitsTiming[]> {
  const timings = new Map<string, UnitsTiming>();
  for (const layer of layers.map((layer) => bindable(layer, format, device.limits.maxBindingBytes))) {
    const kind = kindOf(layer);
    const tried = UNITS_TRIED[kind];
    const all = tried.flatMap(({ rows }) => rows);
    const made = await makeLayer(device, layer, format, all);
    const compiled = await Promise.all(tried.map(async ({ upTo, rows, divisions }) => {
      const most = { config: made.config, mostItems: Math.max(...all), gives: layer.gives };
      const kernels = await Promise.all(divisions.map((units) => compileCandidate(device, { units }, most)));
      return { upTo, rows, kernels: divisions.flatMap((division, i) => (kernels[i] === null ? [] : [{ division, kernel: kernels[i] }])) };
    }));
    for (const { upTo, rows: counts, kernels } of compiled) {
      for (const { division, kernel } of kernels) {
        for (const rows of counts) {
          const ms = layer.count * await timeOne(device, stopwatch, made, kernel, rows);
          const key = JSON.stringify([kind, upTo, rows, division]);
          timings.set(key, { kind, upTo, rows, division, ms: ms + (timings.get(key)?.ms ?? 0) });
        }
      }
    }
    made.destroy();
  }
  return [...timings.values()];
}
