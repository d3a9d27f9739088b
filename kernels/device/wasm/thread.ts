/**
 * Entry of a thread of a `wasm` device.
 *
 * @module
 */
import type { ThreadTask, WasmExports } from "./pool.ts";

const scope = self as unknown as { onmessage: (event: MessageEvent<ThreadTask>) => void; close(): void };

scope.onmessage = ({ data: { module, memory, jobs, scratch } }) => {
  (new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as WasmExports).serve(jobs, scratch);
  scope.close();
};
