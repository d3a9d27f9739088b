/**
 * A hub to try things with by hand: `deno run -A --lock=tests/deno.lock tests/support/hub/main.ts 8091 test/tiny-mla=models/tiny-mla`, and elsewhere
 * `HF_ENDPOINT=http://127.0.0.1:8091 HF_HOME=/tmp/hf deno task serve --model test/tiny-mla`. With `slow=N` it gives N bytes a second.
 *
 * @module
 */
import { FakeHub, type PublishedModel } from "./fake_hub.ts";

const [port, ...rest] = Deno.args;
const models: PublishedModel[] = [];
let bytesPerSecond: number | undefined;
for (const argument of rest) {
  const [repository, directory] = argument.split("=");
  if (repository === "slow") {
    bytesPerSecond = Number(directory);
    continue;
  }
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  for await (const { name, isFile } of Deno.readDir(directory)) if (isFile) files.set(name, await Deno.readFile(`${directory}/${name}`));
  models.push({ repository, files });
}
const hub = new FakeHub({ port: Number(port), models, bytesPerSecond });
console.log(`HF_ENDPOINT=${hub.endpoint}`);
Deno.addSignalListener("SIGTERM", () => {
  console.log(`${hub.sentBytes} bytes of files were given out in ${hub.contents.length} answers`);
  Deno.exit(0);
});
