/**
 * Says once what is left out where there is no NATS server.
 *
 * @module
 */
import { NATS_SERVER } from "../../bench/support/nats_server.ts";

if (NATS_SERVER === null) console.log("skipped, as there is no nats-server (apt-get install nats-server, or TEST_NATS_SERVER): the registry at NATS");

export { NATS_SERVER, NatsServer } from "../../bench/support/nats_server.ts";
