/**
 * Names of registries, for people.
 *
 * @module
 */

/** What `--help` says of names. */
export const REGISTRY_HELP =
  "file:DIRECTORY, on a disk that all hosts share; nats://HOST:PORT[/BUCKET] (tls://… with TLS), a server with JetStream; or kubernetes[:NAMESPACE][?LABEL=VALUE], in a pod";
