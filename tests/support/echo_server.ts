/**
 * A server in a process of its own, which answers with what it was asked. It lets in more than descriptors allow.
 *
 * @module
 */
import { HttpServer } from "../../cluster/http/server/http_server.ts";

const server = HttpServer.listen(
  { hostname: "127.0.0.1", port: 0, limits: { total: 1000, perAddress: 1000 } },
  async (request) => new Response(`${request.method} ${new URL(request.url).pathname} ${await request.text()}.`),
);
console.log(server.address.port);
