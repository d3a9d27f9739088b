/**
 * Why a worker cannot reach another, in words that say what to change.
 *
 * @module
 */
import { asLatentmeshError, LatentmeshError } from "../../core/errors.ts";

/**
 * The problem of an attempt to reach a peer. Between processes of one host it is what it is; between hosts an address may be wrong, or a certificate.
 *
 * @param peer its name and the address that it has told
 */
export function peerProblem(error: unknown, { worker, address }: { readonly worker: string; readonly address: string }): LatentmeshError {
  const problem = asLatentmeshError(error);
  if (address.startsWith("unix:")) return problem;
  const { code = "", message = problem.message } = (problem.cause ?? {}) as { readonly code?: string; readonly message?: string };
  const failed = `Cannot reach worker ${worker} at ${address}: ${message}`;
  const remedy = code === "ERR_TLS_CERT_ALTNAME_INVALID"
    ? "the certificate of its host needs the address that its --advertise gives (on the coordinator's host, that of cluster.listen)"
    : /CERT|^UNABLE_TO_|^ERR_TLS/.test(code)
    ? "set --tls-ca, or cluster.tls.ca on the coordinator's host, to who signed the certificate of its host"
    : "correct the address that its --advertise gives (on the coordinator's host, cluster.listen), or the network between the hosts";
  return new LatentmeshError(problem.code, `${failed}; ${remedy}`, { cause: error });
}
