/**
 * Why a worker cannot join, in words that say what to change. What no new attempt would mend is `unauthorized`; a coordinator that is not there yet is `worker_lost`.
 *
 * @module
 */
import { asLatentmeshError, LatentmeshError } from "../../core/errors.ts";

/** Milliseconds that the other side has to answer when it is asked what it speaks. */
const PATIENCE = 3000;

/** What Node calls certificates that it does not trust. */
const DISTRUSTED = /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_|ERR_TLS|CERT_)/;

/** The problem of an attempt to join over TCP. */
export async function joinProblem(error: unknown, address: string): Promise<LatentmeshError> {
  const problem = asLatentmeshError(error);
  const refused = (what: string) => new LatentmeshError("unauthorized", `Cannot join ${address}: ${what}`, { cause: error });
  if (problem.code === "unauthorized") return refused("wrong token; set LATENTMESH_TOKEN to what the coordinator has");
  if (problem.param === "version") return refused(problem.message);
  const { code = "", message = "" } = (problem.cause ?? {}) as { readonly code?: string; readonly message?: string };
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") return refused(`${message}; give --join a name that the coordinator's certificate has`);
  if (DISTRUSTED.test(code)) return refused(`its certificate is not trusted (${message}); set --tls-ca to the PEM file of who signed it`);
  const status = /Unexpected server response: (?!429)([1-4]\d\d)/.exec(message)?.[1];
  if (status !== undefined) {
    return refused(`no coordinator answers there (status ${status}); give --join the address that serve logs as "join", not that of its API`);
  }
  // A connection that is cut may be a coordinator that ends, or one that speaks otherwise.
  if (code === "ECONNRESET" || code === "EPROTO") {
    const { protocol, hostname, port } = new URL(address);
    const place = { hostname: hostname.replace(/^\[|\]$/g, ""), port: Number(port || (protocol === "wss:" ? 443 : 80)) };
    if (protocol === "ws:" && await within(speaksTls(place))) {
      return refused("it is encrypted; give --join a wss:// address, and --tls-ca if need be");
    }
    if (protocol === "wss:" && await within(speaksPlainly(place))) {
      return refused("it is not encrypted; give the coordinator cluster.tls, or --join a ws:// address with --insecure");
    }
  }
  return problem;
}

interface Place {
  readonly hostname: string;
  readonly port: number;
}

async function speaksTls(place: Place): Promise<boolean> {
  try {
    const connection = await Deno.connectTls(place);
    await connection.handshake().finally(() => connection.close());
    return true;
  } catch (error) {
    return error instanceof Error && /certificate/i.test(error.message);
  }
}

async function speaksPlainly(place: Place): Promise<boolean> {
  using connection = await Deno.connect(place);
  await connection.write(new TextEncoder().encode(`GET / HTTP/1.1\r\nhost: ${place.hostname}\r\n\r\n`));
  const start = new Uint8Array(5);
  const read = await connection.read(start);
  return new TextDecoder().decode(start.subarray(0, read ?? 0)) === "HTTP/";
}

/** False where it fails or takes too long. */
async function within(answer: Promise<boolean>): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => timer = setTimeout(() => resolve(false), PATIENCE));
  try {
    return await Promise.race([answer.catch(() => false), late]);
  } finally {
    clearTimeout(timer);
  }
}
