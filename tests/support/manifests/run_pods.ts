/**
 * Runs the pods of `deploy/kubernetes/overlays/cpu` as processes: one cell and one front, with the arguments, variables, secrets, probes and preStop that Kubernetes would
 * give them, at an API server in memory. It must be alone on its network, where pods have names: `tests/e2e/kubernetes_pods_test.ts` starts it so. Prints what it has seen.
 *
 * @module
 */
import { TASK_ENV, taskArguments } from "../../../bench/support/process.ts";
import { until } from "../../../bench/support/until.ts";
import { ROOT } from "../../../bench/support/root.ts";
import { KubernetesApi, type Verb } from "../kubernetes_api.ts";
import { type KubernetesObject, kustomize } from "./kustomize.ts";
import { type Container, envOf, type Pod, podsOf } from "./pods.ts";

/** What has been seen. */
export interface SeenPods {
  /** Names that the cell's record has. */
  readonly records: readonly string[];
  /** Where workers are. */
  readonly places: readonly string[];
  readonly unkeyed: number;
  /** Of a stream during which the cell was told to end: how many tokens came, and whether it came to its end. */
  readonly stream: { readonly tokens: number; readonly done: boolean };
  /** What the leader said of its readiness while it ended; 0: nothing. */
  readonly whileEnding: number;
  /** Whether the stream had come to its end when the worker's preStop had. */
  readonly waited: boolean;
  readonly left: number;
  /** Codes with which leader, worker and front have ended. */
  readonly codes: readonly number[];
}

/** Names of pods; the test has put them into the file of hosts. */
export const LEADER = "latentmesh-cell-0.latentmesh-cell.latentmesh";
export const WORKER = "latentmesh-cell-0-1.latentmesh-cell.latentmesh";
const FRONT = "http://127.0.0.1:8000";
/** Tokens of the stream: many, so that it does not end before the cell. */
const TOKENS = 1200;

/** A process for each pod. */
class RunningPod {
  readonly #child: Deno.ChildProcess;
  readonly #env: Record<string, string>;
  readonly #container: Container;
  readonly #log: Promise<void>;
  log = "";
  ended = false;

  constructor({ container }: Pod, env: Record<string, string>, directory: string) {
    this.#container = container;
    this.#env = { ...TASK_ENV, PATH: Deno.env.get("PATH")!, ...env };
    const args = container.args.map((arg) =>
      arg.replaceAll(/\$\((\w+)\)/g, (_, name) => env[name]).replaceAll("/etc/latentmesh", `${directory}/etc/latentmesh`)
    );
    // The entry point of the image is that of the task.
    const whole = [...taskArguments(["serve"]).slice(0, -1), ...args];
    const child = this.#child = new Deno.Command(Deno.execPath(), { args: whole, clearEnv: true, env: this.#env, stdout: "null", stderr: "piped" })
      .spawn();
    this.#log = (async () => {
      for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) this.log += text;
    })();
    void child.status.then(() => this.ended = true);
  }

  /** As the kubelet asks. @param host of the pod */
  async isReady(host: string): Promise<boolean> {
    if (this.ended) throw new Error(`a pod has ended: ${this.log}`);
    const { readinessProbe, ports = [] } = this.#container;
    const port = ports.find(({ name }) => name === readinessProbe!.httpGet.port)!.containerPort;
    return await fetch(`http://${host}:${port}${readinessProbe!.httpGet.path}`).then(async (answer) => {
      await answer.body?.cancel();
      return answer.ok;
    }, () => false);
  }

  /** What is run before the pod is told to end. */
  async preStop(): Promise<void> {
    const [program, ...args] = this.#container.lifecycle!.preStop.exec!.command;
    if (program !== "deno") throw new Error(`the image has no ${program}`);
    const { success, stderr } = await new Deno.Command(Deno.execPath(), { args, clearEnv: true, env: this.#env, stdout: "null", stderr: "piped" })
      .output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
  }

  async end(): Promise<number> {
    this.#child.kill("SIGTERM");
    const [{ code }] = await Promise.all([this.#child.status, this.#log]);
    return code;
  }
}

/** Runs them. @param directory has the certificate that docs/fronts.md has made */
export async function runPods(directory: string): Promise<SeenPods> {
  const objects = await kustomize(`${ROOT}/deploy/kubernetes/overlays/cpu`);
  const secrets = { API_KEYS: "a-key-of-a-client", FRONT_KEY: "a-key-of-the-fronts", LATENTMESH_TOKEN: "a token of the cell's workers" };
  await mount(objects, directory);
  await using api = await KubernetesApi.start();
  const [leader, worker, front] = ["latentmesh-cell", "latentmesh-cell worker", "latentmesh-front"].map((name) => {
    const pod = podsOf(objects).find((one) => one.name === name)!;
    const host = name.endsWith("worker") ? WORKER : LEADER;
    const given = envOf(pod.container, objects, {
      secrets,
      fields: { "metadata.name": host.split(".")[0], "metadata.namespace": "latentmesh", "metadata.uid": `uid of ${host}` },
      given: {
        LWS_LEADER_ADDRESS: LEADER,
        LWS_GROUP_SIZE: "2",
        LWS_WORKER_INDEX: name.endsWith("worker") ? "1" : "0",
        KUBERNETES_SERVICE_HOST: "127.0.0.1",
        KUBERNETES_SERVICE_PORT: String(api.port),
      },
    });
    // Models are where the repository has them, not where the image does.
    const model = given.LATENTMESH_MODEL?.replace("/app/models", `${ROOT}/models`);
    return { pod, env: { ...given, ...model === undefined ? {} : { LATENTMESH_MODEL: model } } };
  });
  const start = async ({ pod, env }: typeof leader) => {
    const account = await accountOf(pod, objects, api, directory);
    return new RunningPod(pod, { ...env, ...account === null ? {} : { LATENTMESH_KUBE_ACCOUNT: account } }, directory);
  };
  // In no order that matters.
  const running = { worker: await start(worker), front: await start(front), leader: await start(leader) };
  await until(() => running.leader.isReady(LEADER));
  await until(() => running.front.isReady("127.0.0.1"));
  const records = api.leases.map(({ metadata: { name, ownerReferences } }) => `${name} ${ownerReferences![0].name}`);
  const key = { authorization: `Bearer ${secrets.API_KEYS}` };
  const { units } = await (await fetch(`http://${LEADER}:8080/cluster`, { headers: key })).json();
  const places = units.flatMap(({ name, workers }: { name: string; workers: { rank: number; host: string }[] }) =>
    workers.map(({ rank, host }) => `${name}.${rank} ${host}`)
  );
  const ask = (headers: HeadersInit) =>
    fetch(`${FRONT}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify({ prompt: "It was", max_tokens: TOKENS, temperature: 0, ignore_eos: true, stream: true }),
    });
  const refused = await ask({});
  await refused.body?.cancel();
  const answer = await ask(key);
  let text = "";
  let ending: Promise<[number, boolean]> | null = null;
  let whileEnding = 0;
  for await (const piece of answer.body!.pipeThrough(new TextDecoderStream())) {
    text += piece;
    // The cell is told to end as soon as there is something that it must finish: the worker's preStop and the leader's signal at once.
    ending ??= (async () => {
      const code = running.leader.end();
      const waited = running.worker.preStop().then(() => text.includes("[DONE]"));
      const readiness = () =>
        fetch(`http://${LEADER}:8080/readyz`).then(async ({ body, status }) => {
          await body?.cancel();
          return status;
        }, () => 0);
      await until(async () => (whileEnding = await readiness()) !== 200);
      return await Promise.all([code, waited]);
    })();
  }
  const [leaderCode, waited] = await ending!;
  const codes = [leaderCode, await running.worker.end(), await running.front.end()];
  const stream = { tokens: [...text.matchAll(/^data: \{/gm)].length, done: text.trimEnd().endsWith("data: [DONE]") && !text.includes('"error"') };
  return { records, places, unkeyed: refused.status, stream, whileEnding, waited, left: api.leases.length, codes };
}

/** Files of config maps, below the directory. */
async function mount(objects: readonly KubernetesObject[], directory: string): Promise<void> {
  const { data } = objects.find(({ kind, metadata: { name } }) => kind === "ConfigMap" && name === "latentmesh-cell") as unknown as {
    data: Record<string, string>;
  };
  const config = `${directory}/etc/latentmesh/config`;
  await Deno.mkdir(config, { recursive: true });
  await Deno.writeTextFile(`${config}/cluster.yaml`, data["cluster.yaml"].replaceAll("/etc/latentmesh", `${directory}/etc/latentmesh`));
}

/** A directory as a pod's service account has it, with the rights of its role; null where none is mounted. */
async function accountOf({ name, spec }: Pod, objects: readonly KubernetesObject[], api: KubernetesApi, directory: string): Promise<string | null> {
  if (!spec.automountServiceAccountToken) return null;
  const role = objects.find(({ kind, metadata }) => kind === "Role" && metadata.name === spec.serviceAccountName) as unknown as {
    rules: { verbs: Verb[] }[];
  };
  api.grant(`token of ${name}`, role.rules.flatMap(({ verbs }) => verbs));
  const account = `${directory}/${name}`;
  await Deno.mkdir(account);
  await Deno.copyFile(`${ROOT}/tests/support/tls/cert.pem`, `${account}/ca.crt`);
  await Deno.writeTextFile(`${account}/token`, `token of ${name}`);
  await Deno.writeTextFile(`${account}/namespace`, "latentmesh");
  return account;
}

if (import.meta.main) {
  const seen = await runPods(Deno.args[0]);
  await Deno.writeTextFile(`${Deno.args[0]}/seen.json`, JSON.stringify(seen));
}
