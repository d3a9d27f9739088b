/**
 * Writes a file of a megabyte in a process of its own, whose files may be limited.
 *
 * @module
 */
import { writeWhole } from "../../cluster/processes/write_whole.ts";

await writeWhole(Deno.args[0], new Uint8Array(1 << 20)).catch((error) => {
  console.log(error.message);
  Deno.exit(7);
});
