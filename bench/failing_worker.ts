/**
 * Entry of a worker whose device refuses a few commands whenever the process gets SIGUSR1.
 *
 * @module
 */
import { LatentmeshError } from "../core/errors.ts";
import { CpuDevice } from "../kernels/device/cpu_device.ts";
import { runWorker } from "../workers/process/main.ts";
import { DenoTransport } from "../workers/links/transport.ts";

/** Submissions that fail in a row. */
const FAILURES = 3;

if (import.meta.main) {
  const { submit } = CpuDevice.prototype;
  let failures = 0;
  Deno.addSignalListener("SIGUSR1", () => failures = FAILURES);
  CpuDevice.prototype.submit = function () {
    if (failures > 0) {
      failures--;
      throw new LatentmeshError("device_lost", "The device was made to fail");
    }
    submit.call(this);
  };
  await runWorker(({ tls }) => new DenoTransport(tls));
}
