/**
 * An API server of Kubernetes with nothing but Leases, in memory, over HTTPS on loopback: what its clients rely on (versions of all objects and of each, lists in pages,
 * watches that go on from a version, 410 where that is forgotten, conflicts, tokens that expire, rights) is as the real one has it. And it fails as a test asks.
 *
 * @module
 */
import { HttpsServer } from "./https_server.ts";
import { checkLease, isSelected, type Lease, mergePatch } from "./kubernetes_objects.ts";
import { Refusal, statusOf } from "./kubernetes_status.ts";

/** What may be done to Leases. */
export type Verb = "get" | "list" | "watch" | "create" | "patch" | "delete";
const VERBS: readonly Verb[] = ["get", "list", "watch", "create", "patch", "delete"];

interface Change {
  readonly revision: number;
  readonly before: Lease | null;
  readonly after: Lease | null;
}

interface Watcher {
  tell(change: Change): void;
  end(error?: Error): void;
}

/** A running server; when it was stopped, it may start again on the same port, with what it had. */
export class KubernetesApi implements AsyncDisposable {
  /** Requests that have come, by what was asked; `401` those whose token was not accepted. */
  readonly asked: Record<Verb | "401", number> = { get: 0, list: 0, watch: 0, create: 0, patch: 0, delete: 0, "401": 0 };
  /** How a watch is told that its version is forgotten: the real one has both. */
  goneAs: "event" | "status" = "event";
  /** Milliseconds between bookmarks, and how many were sent. */
  bookmarkMs = 60_000;
  bookmarks = 0;
  /** Whether watches say nothing any more, as where the network between has lost them. */
  mute = false;
  /** Whether the next page of a list has expired when it is asked for. */
  expireNextPage = false;
  /** What answers wait for, where it does not answer; null: it does. */
  hanging: Promise<void> | null = null;
  /** Seconds for which clients are told to stay away; null: they are served. */
  overloaded: number | null = null;
  readonly #rights = new Map<string, ReadonlySet<Verb>>();
  readonly #objects = new Map<string, Lease>();
  readonly #pages = new Map<string, { readonly items: Lease[]; readonly revision: number }>();
  readonly #watchers = new Set<Watcher>();
  #changes: Change[] = [];
  #revision = 1000;
  /** The latest that nobody can watch from any more. */
  #forgotten = 999;
  #server: HttpsServer | null = null;
  #port = 0;

  /** Starts one; the token `valid` may do everything. */
  static async start(): Promise<KubernetesApi> {
    const api = new KubernetesApi();
    api.grant("valid");
    await api.start();
    return api;
  }

  /** Listens. */
  async start(): Promise<void> {
    this.#server = await HttpsServer.listen(this.#port, (request) => this.#answer(request));
    this.#port = this.#server.port;
  }

  /** Ends at once, with all connections. */
  async stop(): Promise<void> {
    this.endWatches(new Error("the server has ended"));
    await this.#server?.stop();
    this.#server = null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  get port(): number {
    return this.#port;
  }

  /** Lets a token do so much. */
  grant(token: string, verbs: readonly Verb[] = VERBS): void {
    this.#rights.set(token, new Set(verbs));
  }

  /** A token is accepted no longer. */
  revoke(token: string): void {
    this.#rights.delete(token);
  }

  /** Ends all watches, in order or not. */
  endWatches(error?: Error): void {
    for (const watcher of [...this.#watchers]) watcher.end(error);
  }

  /** Forgets what has happened until now, or then: whoever does not know it yet must list again. */
  compact(revision = this.#revision): void {
    this.#forgotten = revision;
    this.#changes = this.#changes.filter((change) => change.revision > revision);
    this.#pages.clear();
  }

  /** Of all that is kept. */
  get revision(): number {
    return this.#revision;
  }

  /** All Leases, as they are. */
  get leases(): Lease[] {
    return [...this.#objects.values()];
  }

  /** How many watch. */
  get watchers(): number {
    return this.#watchers.size;
  }

  /** Changes a Lease past all clients; null removes it. */
  set(place: string, lease: Lease | null): void {
    this.#keep(place, lease);
  }

  /** Loses everything at once, with nobody told, as where its store was replaced. */
  lose(): void {
    this.#objects.clear();
    this.#revision += 1000;
    this.compact();
  }

  async #answer(request: Request): Promise<Response> {
    try {
      return await this.#route(request);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const retryAfter: Record<string, string> = error.code === 429 ? { "retry-after": String(this.overloaded) } : {};
      return Response.json(statusOf(error), { status: error.code, headers: retryAfter });
    }
  }

  async #route(request: Request): Promise<Response> {
    await this.hanging;
    const url = new URL(request.url);
    const [, namespace, name] = /^\/apis\/coordination\.k8s\.io\/v1\/namespaces\/([^/]+)\/leases(?:\/([^/]+))?$/.exec(url.pathname) ?? [];
    const token = /^Bearer (.+)$/.exec(request.headers.get("authorization") ?? "")?.[1] ?? "";
    const rights = this.#rights.get(token);
    if (rights === undefined) {
      this.asked["401"]++;
      throw new Refusal(401, "Unauthorized", "Unauthorized");
    }
    if (namespace === undefined) throw new Refusal(404, "NotFound", "the server could not find the requested resource");
    const verb = verbOf(request.method, name, url.searchParams);
    if (verb === null) throw new Refusal(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
    this.asked[verb]++;
    if (this.overloaded !== null) throw new Refusal(429, "TooManyRequests", "too many requests, please try again later");
    if (!rights.has(verb)) {
      const user = `system:serviceaccount:${namespace}:test`;
      const what = `cannot ${verb} resource "leases" in API group "coordination.k8s.io" in the namespace "${namespace}"`;
      throw new Refusal(403, "Forbidden", `leases.coordination.k8s.io is forbidden: User "${user}" ${what}`);
    }
    const place = `${namespace}/${name}`;
    if (verb === "list") return Response.json(this.#list(namespace, url.searchParams));
    if (verb === "watch") return this.#watch(namespace, url.searchParams);
    if (verb === "get") return Response.json(this.#existing(place));
    const body: unknown = await request.json().catch(() => null);
    if (verb === "create") return Response.json(this.#create(namespace, body), { status: 201 });
    if (verb === "delete") return Response.json(this.#delete(place, body));
    const type = request.headers.get("content-type");
    if (type !== "application/merge-patch+json") {
      throw new Refusal(415, "UnsupportedMediaType", `the body of the request was of an unknown format: ${type}`);
    }
    return Response.json(this.#patch(place, body));
  }

  #existing(place: string): Lease {
    const lease = this.#objects.get(place);
    if (lease === undefined) throw new Refusal(404, "NotFound", `leases.coordination.k8s.io "${place.split("/")[1]}" not found`);
    return lease;
  }

  #create(namespace: string, body: unknown): Lease {
    const lease = expectLease(body);
    const place = `${namespace}/${lease.metadata.name}`;
    if (lease.metadata.resourceVersion !== undefined) {
      throw new Refusal(400, "BadRequest", "resourceVersion should not be set on objects to be created");
    }
    if (this.#objects.has(place)) throw new Refusal(409, "AlreadyExists", `leases.coordination.k8s.io "${lease.metadata.name}" already exists`);
    const created = { namespace, uid: crypto.randomUUID(), creationTimestamp: new Date().toISOString().replace(/\.\d+/, "") };
    return this.#keep(place, { ...lease, metadata: { ...lease.metadata, ...created } })!;
  }

  #patch(place: string, body: unknown): Lease {
    const before = this.#existing(place);
    const after = expectLease(mergePatch(before, body));
    const { name, uid, namespace, resourceVersion } = before.metadata;
    if (after.metadata.resourceVersion !== resourceVersion) {
      const problem = "the object has been modified; please apply your changes to the latest version and try again";
      throw new Refusal(409, "Conflict", `Operation cannot be fulfilled on leases.coordination.k8s.io "${name}": ${problem}`);
    }
    if (after.metadata.name !== name || after.metadata.uid !== uid || after.metadata.namespace !== namespace) {
      throw new Refusal(422, "Invalid", "metadata: field is immutable");
    }
    // What changes nothing is written nowhere.
    return JSON.stringify(after) === JSON.stringify(before) ? before : this.#keep(place, after)!;
  }

  #delete(place: string, body: unknown): object {
    const { metadata: { resourceVersion, uid, name } } = this.#existing(place);
    const { preconditions = {} } = (body ?? {}) as { preconditions?: { resourceVersion?: string; uid?: string } };
    for (const [asked, is] of [[preconditions.resourceVersion, resourceVersion], [preconditions.uid, uid]]) {
      if (asked !== undefined && asked !== is) {
        throw new Refusal(409, "Conflict", `Precondition failed: in precondition: ${asked}, in object meta: ${is}`);
      }
    }
    this.#keep(place, null);
    return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details: { name, uid } };
  }

  #keep(place: string, lease: Lease | null): Lease | null {
    const before = this.#objects.get(place) ?? null;
    if (before === null && lease === null) return null;
    const revision = ++this.#revision;
    const after = lease === null ? null : { ...lease, metadata: { ...lease.metadata, resourceVersion: String(revision) } };
    if (after === null) this.#objects.delete(place);
    else this.#objects.set(place, after);
    const change = { revision, before, after };
    this.#changes.push(change);
    for (const watcher of this.#watchers) watcher.tell(change);
    return after;
  }

  #list(namespace: string, query: URLSearchParams): object {
    const continued = query.get("continue");
    if (continued !== null && this.expireNextPage) {
      this.expireNextPage = false;
      this.#pages.clear();
    }
    const page = continued === null ? this.#snapshot(namespace, query) : this.#pages.get(continued);
    if (page === undefined) throw new Refusal(410, "Expired", "The provided continue parameter is too old to display a consistent list result");
    const limit = Number(query.get("limit") ?? "0") || Infinity;
    const items = page.items.slice(0, limit);
    const rest = page.items.slice(limit);
    const token = rest.length > 0 ? crypto.randomUUID() : "";
    if (token !== "") this.#pages.set(token, { items: rest, revision: page.revision });
    const metadata = { resourceVersion: String(page.revision), continue: token };
    // As the real one writes an empty list.
    return { kind: "LeaseList", apiVersion: "coordination.k8s.io/v1", metadata, items: items.length === 0 ? null : items };
  }

  #snapshot(namespace: string, query: URLSearchParams) {
    const inNamespace = [...this.#objects.entries()].filter(([place]) => place.startsWith(`${namespace}/`));
    const items = inNamespace.toSorted().map(([, lease]) => lease).filter((lease) => isSelected(lease, query.get("labelSelector") ?? ""));
    return { items, revision: this.#revision };
  }

  #watch(namespace: string, query: URLSearchParams): Response {
    const from = Number(query.get("resourceVersion"));
    if (!Number.isInteger(from)) throw new Refusal(400, "BadRequest", "Invalid value: resourceVersion");
    const gone = new Refusal(410, "Expired", `too old resource version: ${from} (${this.#forgotten + 1})`);
    const isGone = from < this.#forgotten;
    if (isGone && this.goneAs === "status") throw gone;
    const selector = query.get("labelSelector") ?? "";
    const isHere = (lease: Lease | null) => lease !== null && lease.metadata.namespace === namespace && isSelected(lease, selector);
    let watcher: Watcher;
    let ended = false;
    const timers: ReturnType<typeof setTimeout>[] = [];
    const leave = () => {
      ended = true;
      this.#watchers.delete(watcher);
      timers.forEach(clearTimeout);
    };
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (controller) => {
        const send = (type: string, object: unknown) => {
          if (this.mute || ended) return;
          if (type === "BOOKMARK") this.bookmarks++;
          const line = new TextEncoder().encode(JSON.stringify({ type, object }) + "\n");
          // Nobody may count on an event being a chunk.
          const middle = Math.ceil(line.length / 2);
          controller.enqueue(line.slice(0, middle));
          controller.enqueue(line.slice(middle));
        };
        const bookmark = () =>
          send("BOOKMARK", { kind: "Lease", apiVersion: "coordination.k8s.io/v1", metadata: { resourceVersion: String(this.#revision) } });
        watcher = {
          tell({ revision, before, after }) {
            const [was, is] = [isHere(before), isHere(after)];
            if (is) send(was ? "MODIFIED" : "ADDED", after);
            // What has lost its labels is told of as it was, with the version of the change.
            else if (was) send("DELETED", { ...before, metadata: { ...before!.metadata, resourceVersion: String(revision) } });
          },
          end(error) {
            leave();
            if (error === undefined) controller.close();
            else controller.error(error);
          },
        };
        this.#watchers.add(watcher);
        if (isGone) {
          send("ERROR", statusOf(gone));
          return watcher.end();
        }
        for (const change of this.#changes) if (change.revision > from) watcher.tell(change);
        if (query.get("allowWatchBookmarks") === "true") timers.push(setInterval(bookmark, this.bookmarkMs));
        timers.push(setTimeout(() => watcher.end(), Number(query.get("timeoutSeconds") ?? "1800") * 1000));
      },
      cancel: leave,
    });
    return new Response(body, { headers: { "content-type": "application/json" } });
  }
}

function expectLease(body: unknown): Lease {
  const lease = checkLease(body);
  if (typeof lease === "string") throw new Refusal(422, "Invalid", `Lease is invalid: ${lease}`);
  return lease;
}

function verbOf(method: string, name: string | undefined, query: URLSearchParams): Verb | null {
  if (method === "GET" && name === undefined) return query.get("watch") === "true" || query.get("watch") === "1" ? "watch" : "list";
  if (method === "POST" && name === undefined) return "create";
  if (name === undefined) return null;
  return ({ GET: "get", PATCH: "patch", DELETE: "delete" } as const)[method] ?? null;
}
