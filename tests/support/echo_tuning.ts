/**
 * In the place of a worker: says how it was told to use its device, and ends.
 *
 * @module
 */
const { tuning } = JSON.parse(await new Response(Deno.stdin.readable).text());
console.error(JSON.stringify(tuning));
