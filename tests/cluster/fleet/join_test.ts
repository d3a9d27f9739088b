/**
 * Workers that join from elsewhere, here from another loopback address, and those that are turned away.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Lobby } from "../../../cluster/fleet/lobby.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { encodeFrame } from "../../../core/wire/codec.ts";
import { authenticate, greet } from "../../../core/wire/handshake.ts";
import { connectLink } from "../../../core/wire/link.ts";
import type { Hello } from "../../../core/wire/messages.ts";
import { Cluster, joinCluster } from "../../../mod.ts";
import { joinProblem } from "../../../workers/process/join_problem.ts";
import { DenoTransport } from "../../../workers/links/transport.ts";
import { until } from "../../../bench/support/until.ts";
import { ROOT } from "../../../bench/support/root.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";
import { generate } from "../../support/generation.ts";

const TOKEN = "a token for tests only";
const TLS = { cert: `${ROOT}/tests/support/tls/cert.pem`, key: `${ROOT}/tests/support/tls/key.pem`, ca: `${ROOT}/tests/support/tls/cert.pem` };
const model = fixtureDirectory("tiny-mla");

/** A port that is free now. */
function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  listener.close();
  return (listener.addr as Deno.NetAddr).port;
}

describe("workers of another host", () => {
  for (const tls of [undefined, TLS]) {
    it(`join ${tls === undefined ? "over TCP" : "over TLS"}, prefill and decode with those of this one, and join again after they die`, async () => {
      const port = freePort();
      const coordinator = `${tls === undefined ? "ws" : "wss"}://127.0.0.1:${port}`;
      const join = { coordinator, token: TOKEN, host: "b", advertise: "127.0.0.2", model, device: "wasm" as const, gpus: [0], tls };
      const joined = await joinCluster(join);
      // Places are given in turn: rank 0 here, rank 1 there, prefill here again.
      const cluster = await Cluster.start({
        model,
        device: "wasm",
        decode: { exchange: "websocket" },
        cluster: { token: TOKEN, listen: `127.0.0.1:${port}`, tls, hosts: [{ name: "a" }, { name: "b", join: true }] },
      });
      try {
        const { text } = await generate(cluster, { prompt: "And it came to pass", maxTokens: 8 });
        const { exchange } = (await cluster.describe()).units.find(({ role }) => role === "decode")!;
        assertEquals(exchange, { by: "websocket", notShared: null, notThreaded: null });
        const status = await cluster.status();
        assertEquals(status.map(({ unit, host }) => `${unit} ${host}`), ["decode-0 a", "decode-0 b", "prefill-0 a"]);
        Deno.kill(status[1].pid, "SIGKILL");
        await until(async () => (await cluster.status().catch(() => status))[1]?.pid !== status[1].pid);
        assertEquals((await generate(cluster, { prompt: "And it came to pass", maxTokens: 8 })).text, text);
      } finally {
        await cluster.close();
        await joined.close();
      }
    });
  }

  it("are refused by name when one byte of their weights differs, which is seen while they serve", async () => {
    const other = await Deno.makeTempDir();
    try {
      for await (const { name } of Deno.readDir(model)) await Deno.copyFile(`${model}/${name}`, `${other}/${name}`);
      // The last byte of the last tensor: none of those that are compared before.
      const weights = await Deno.readFile(`${other}/model.safetensors`);
      weights[weights.length - 1] ^= 1;
      await Deno.writeFile(`${other}/model.safetensors`, weights);
      const port = freePort();
      const coordinator = `ws://127.0.0.1:${port}`;
      const join = { coordinator, token: TOKEN, host: "b", advertise: "127.0.0.2", device: "wasm" as const, gpus: [0] };
      const first = await joinCluster({ ...join, model: other });
      const cluster = await Cluster.start({
        model,
        device: "wasm",
        cluster: { token: TOKEN, listen: `127.0.0.1:${port}`, hosts: [{ name: "a" }, { name: "b", join: true }] },
      });
      try {
        const error = await assertRejects(() => first.failed, LatentmeshError, "Host b has other weights");
        assert(/"[\w.]+" differs; copy the model/.test(error.message), error.message);
        await first.close();
        // Who comes back with them is not let in a second time.
        const stubborn = await joinCluster({ ...join, model: other });
        await assertRejects(() => stubborn.failed, LatentmeshError, "Host b has other weights");
        await stubborn.close();
        const same = await joinCluster({ ...join, model });
        assertEquals((await generate(cluster, { prompt: "And it came to pass", maxTokens: 4 })).tokens.length, 4);
        await same.close();
      } finally {
        await cluster.close();
      }
    } finally {
      await Deno.remove(other, { recursive: true });
    }
  });

  it("are refused with a wrong token, and do not try again", async () => {
    const transport = new DenoTransport();
    const lobby = await openLobby(transport, []);
    const joined = await joinCluster({
      coordinator: lobby.addresses[0],
      token: "not the token of tests",
      host: "b",
      advertise: "127.0.0.2",
      model,
      device: "wasm",
    });
    const error = await assertRejects(() => joined.failed, LatentmeshError, "wrong token");
    assertEquals(error.code, "unauthorized");
    await joined.close();
    await lobby.close();
  });

  it("end with what to change where no new attempt would help, and are told when they have joined", async () => {
    const port = freePort();
    const options = { coordinator: `ws://127.0.0.1:${port}`, token: TOKEN, advertise: "127.0.0.2", model, device: "wasm" as const, gpus: [0] };
    const starting = Cluster.start({
      model,
      device: "wasm",
      cluster: { token: TOKEN, listen: `127.0.0.1:${port}`, hosts: [{ name: "a" }, { name: "b", join: true }] },
    });
    const refusal = async (given: Partial<Parameters<typeof joinCluster>[0]>) => {
      const joined = await joinCluster({ ...options, host: "b", ...given });
      const error = await assertRejects(() => joined.failed, LatentmeshError);
      await joined.close();
      return `${error.code}: ${error.message.replace(/^Worker [^:]*: /, "")}`;
    };
    const [wrongName, own] = await Promise.all([refusal({ host: "c" }), refusal({ host: "a" })]);
    assertEquals(wrongName, 'unauthorized: no host "c" joins here; change --name to b');
    assertEquals(own, 'unauthorized: no host "a" joins here; change --name to b');
    const joined = await joinCluster({ ...options, host: "b" });
    const cluster = await starting;
    try {
      assertEquals(await refusal({ advertise: "127.0.0.3" }), 'unauthorized: another machine, 127.0.0.2, has joined as "b"; change --name');
    } finally {
      await cluster.close();
      await joined.close();
    }
  });

  it("end with the flag to change where one side is encrypted and the other is not, or is not trusted, or is no coordinator", async () => {
    const read = (path: string) => Deno.readTextFileSync(path);
    const transport = new DenoTransport({ cert: read(TLS.cert), key: read(TLS.key) });
    const never = () => new Promise<void>(() => {});
    const secure = await transport.listen("wss://127.0.0.1:0", never);
    const plain = await transport.listen("ws://127.0.0.1:0", never);
    const api = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => new Response("", { status: 404 }));
    const cases: [address: string, tls: { ca?: string }, problem: string][] = [
      [secure.address, {}, "set --tls-ca"],
      [secure.address.replace("127.0.0.1", "127.0.0.9"), { ca: TLS.ca }, "give --join a name that the coordinator's certificate has"],
      [secure.address.replace("wss:", "ws:"), {}, "give --join a wss:// address"],
      [plain.address.replace("ws:", "wss:"), {}, "give the coordinator cluster.tls, or --join a ws:// address"],
      [`ws://127.0.0.1:${api.addr.port}`, {}, 'the address that serve logs as "join"'],
    ];
    // A door listens at one address only.
    const elsewhere = await transport.listen(secure.address.replace("127.0.0.1", "127.0.0.9"), never);
    try {
      for (const [address, tls, problem] of cases) {
        const error = await joinProblem(
          await new DenoTransport({ ca: tls.ca === undefined ? undefined : read(tls.ca) }).connect(address).then(
            () => assert(false, address),
            (error) => error,
          ),
          address,
        );
        assertEquals(error.code, "unauthorized", `${address}: ${error.message}`);
        assert(error.message.includes(problem), error.message);
      }
      const secret = new TextEncoder().encode(TOKEN);
      const [asked, answer] = [Promise.withResolvers<Uint8Array<ArrayBuffer>>(), Promise.withResolvers<Uint8Array<ArrayBuffer>>()];
      const older = greet({ send: asked.resolve, next: () => answer.promise }, { worker: "x", role: "worker" }, secret);
      const newer = authenticate({ send: answer.resolve, next: () => asked.promise }, () => secret, 99);
      await assertRejects(() => newer, LatentmeshError);
      const apart = await joinProblem(await older.catch((error) => error), secure.address);
      assertEquals(apart.code, "unauthorized");
      assert(apart.message.includes("run the same Latentmesh release"), apart.message);
      // Who is not there yet may come.
      const away = `ws://127.0.0.1:${freePort()}`;
      const error = await joinProblem(await transport.connect(away).then(() => assert(false), (error) => error), away);
      assertEquals(error.code, "worker_lost");
    } finally {
      for (const listener of [secure, plain, elsewhere]) await listener.close();
      await api.shutdown();
    }
  });

  it("need encryption unless told otherwise", async () => {
    const options = { token: TOKEN, host: "b", model, advertise: "127.0.0.2" };
    await assertRejects(() => joinCluster({ ...options, coordinator: "ws://192.0.2.1:9" }), LatentmeshError, "not encrypted");
    await assertRejects(
      () => joinCluster({ ...options, coordinator: "wss://192.0.2.1:9", advertise: "192.0.2.2" }),
      LatentmeshError,
      "without a certificate",
    );
    await assertRejects(() => joinCluster({ ...options, coordinator: "nonsense" }), LatentmeshError, "wss://host:port");
  });
});

describe("a cluster at whose door strangers knock", () => {
  it("goes on serving", async () => {
    const port = freePort();
    const cluster = await Cluster.start({ model, device: "cpu", cluster: { token: TOKEN, listen: `127.0.0.1:${port}` } });
    try {
      const ask = { prompt: "And it came to pass", maxTokens: 40, ignoreEos: true };
      const { tokens } = await generate(cluster, ask);
      const served = generate(cluster, ask);
      const transport = new DenoTransport();
      const closeCode = async (first: Uint8Array<ArrayBuffer>, token?: string): Promise<number | string> => {
        const socket = await transport.connect(`ws://127.0.0.1:${port}`);
        socket.binaryType = "arraybuffer";
        if (token !== undefined) {
          const link = await connectLink(socket, { worker: "stranger", role: "worker" }, new TextEncoder().encode(token)).catch((error) => error);
          if (link instanceof LatentmeshError) return link.code;
          link.sendFrame(first);
          return (await link.closed).message;
        }
        const closed = new Promise<number>((resolve) => socket.onclose = ({ code }) => resolve(code));
        socket.send(first);
        return await closed;
      };
      const version = Uint8Array.of(...new TextEncoder().encode("LMSH"), 1, 0, 99, 0, 1, 120, ...new Uint8Array(32));
      assertEquals(await closeCode(version), 4400);
      assertEquals(await closeCode(encodeFrame({ kind: "hello" })), 4400);
      assertEquals(await closeCode(new Uint8Array(100_000)), 4400);
      assertEquals(await closeCode(encodeFrame(hello), "not the token of tests"), "unauthorized");
      assert(String(await closeCode(encodeFrame(hello).subarray(0, 30), TOKEN)).includes("truncated"), "a frame that is cut");
      assert(String(await closeCode(encodeFrame({ kind: "progress", loadedBytes: 1, totalBytes: 1 }), TOKEN)).includes("hello first"), "no hello");
      assert(String(await closeCode(encodeFrame(hello), TOKEN)).includes("no host joins this cluster"), "nobody asked for it");
      assertEquals((await served).tokens, tokens);
      assertEquals((await cluster.status()).map(({ epoch }) => epoch), [1, 1, 1]);
    } finally {
      await cluster.close();
    }
  });
});

const hello: Hello = {
  kind: "hello",
  host: "b",
  pid: 1,
  address: "ws://127.0.0.1:1",
  device: { kind: "cpu", description: "test", maxBindingBytes: 2 ** 32 },
  modelHash: "a".repeat(64),
  basisHash: null,
};

function openLobby(transport: DenoTransport, arrived: string[]): Promise<Lobby> {
  return Lobby.open(transport, {
    addresses: ["ws://127.0.0.1:0"],
    token: new TextEncoder().encode(TOKEN),
    checkWorker: (worker, { modelHash }) => {
      if (modelHash !== hello.modelHash) throw new LatentmeshError("unauthorized", `Worker ${worker}: other model`);
    },
    onArrival: ({ worker }) => arrived.push(worker),
    onNotice: () => {},
  });
}

describe("the lobby", () => {
  it("turns away who says something else than hello, says it twice, or has another model, and lets the next in", async () => {
    const transport = new DenoTransport();
    const arrived: string[] = [];
    const lobby = await openLobby(transport, arrived);
    const connect = async (worker: string) => {
      const socket = await transport.connect(lobby.addresses[0]);
      return await connectLink(socket, { worker, role: "worker" }, new TextEncoder().encode(TOKEN));
    };
    const cases: [messages: object[], problem: string][] = [
      [[{ kind: "progress", loadedBytes: 1, totalBytes: 2 }], "Say hello first"],
      [[{ ...hello, modelHash: "b".repeat(64) }], "other model"],
      [[{ ...hello, host: "" }], "host"],
      [[{ ...hello, more: 1 }], "more"],
    ];
    for (const [messages, problem] of cases) {
      const link = await connect("x");
      for (const message of messages) link.send(message);
      const reason = await link.closed;
      // Who has another model need not come again; whoever breaks protocol may, as a new process.
      assertEquals(reason.code, problem === "other model" ? "unauthorized" : "protocol");
      assert(reason.message.includes(problem), `${problem}: ${reason.message}`);
    }
    assertEquals(arrived, []);
    const link = await connect("good");
    link.send(hello);
    await until(() => arrived.length === 1);
    link.send(hello);
    assert((await link.closed).message.includes("once"));
    assertEquals(arrived, ["good"]);
    const decoy = await transport.connect(lobby.addresses[0]);
    await assertRejects(() => connectLink(decoy, { worker: "x", role: "decode" }, new TextEncoder().encode(TOKEN)), LatentmeshError, "wrong token");
    await lobby.close();
  });
});
