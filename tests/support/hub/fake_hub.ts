/**
 * A hub on loopback: a real HTTP server that speaks what is used of Hugging Face's API, and a second one on another origin where it keeps large files. What it does
 * wrong is said request by request.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { type Fault, faulty } from "./faults.ts";

/** A model that it has. */
export interface PublishedModel {
  readonly repository: string;
  readonly files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
  /** Names of the commit; `main` by default. */
  readonly revisions?: readonly string[];
  /** Only who has this token may have it. */
  readonly token?: string;
  readonly gated?: boolean;
}

/** A request that came. */
export interface SeenRequest {
  /** What was asked for: a commit, a page of a listing, a file from the hub, or from where large files are. */
  readonly kind: "info" | "tree" | "resolve" | "content";
  /** Of files. */
  readonly path: string;
  readonly authorization: string | null;
  readonly range: string | null;
}

/** A file in a listing. */
export interface ListedEntry {
  readonly type: string;
  readonly path: string;
  readonly size: number;
  readonly oid: string;
  readonly lfs?: { readonly oid: string; readonly size: number; readonly pointerSize: number };
}

/** How it is set up. */
export interface FakeHubOptions {
  readonly models: readonly PublishedModel[];
  /** What goes wrong with a request; null: nothing. */
  readonly fault?: (request: SeenRequest) => Fault | null;
  /** Entries of a page. */
  readonly pageSize?: number;
  /** What else it lists, by path: names that are no names of files. */
  readonly alsoListed?: readonly string[];
  /** What it says of a file. */
  readonly listed?: (entry: ListedEntry) => ListedEntry;
  readonly port?: number;
  /** Of each file. */
  readonly bytesPerSecond?: number;
}

/** Files from here on are large: known by SHA-256, and elsewhere. */
const LARGE = 4096;

/** The server. */
export class FakeHub implements AsyncDisposable {
  readonly requests: SeenRequest[] = [];
  /** Bytes of files that were given out. */
  sentBytes = 0;
  /** Replace it to change what goes wrong from now on. */
  fault: NonNullable<FakeHubOptions["fault"]>;
  readonly #options: FakeHubOptions;
  readonly #hub: Deno.HttpServer<Deno.NetAddr>;
  readonly #store: Deno.HttpServer<Deno.NetAddr>;

  /** Begins to serve. */
  constructor(options: FakeHubOptions) {
    this.#options = options;
    this.fault = options.fault ?? (() => null);
    // A body that is broken off is meant.
    const serve = (port: number, handler: (request: Request) => Response | Promise<Response>) =>
      Deno.serve({ hostname: "127.0.0.1", port, onListen() {}, onError: () => new Response(null, { status: 500 }) }, handler) as Deno.HttpServer<
        Deno.NetAddr
      >;
    this.#hub = serve(options.port ?? 0, (request) => this.#answer(request));
    this.#store = serve(0, (request) => this.#content(request));
  }

  /** Its address. */
  get endpoint(): string {
    return `http://127.0.0.1:${this.#hub.addr.port}`;
  }

  /** Requests for contents of files. */
  get contents(): readonly SeenRequest[] {
    return this.requests.filter(({ kind, path }) => kind === "content" || (kind === "resolve" && this.#isSmall(path)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#hub.shutdown(), this.#store.shutdown()]);
  }

  async #answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const path = decodeURIComponent(url.pathname);
    const info = /^\/api\/models\/([^/]+\/[^/]+)\/revision\/(.+)$/.exec(path);
    const tree = /^\/api\/models\/([^/]+\/[^/]+)\/tree\/([^/]+)$/.exec(path);
    const resolve = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path);
    const [, repository, revision, file = ""] = info ?? tree ?? resolve ?? [];
    if (repository === undefined) return new Response("no such page", { status: 404 });
    const kind = info !== null ? "info" : tree !== null ? "tree" : "resolve";
    const seen = this.#see(request, kind, file);
    const fault = this.fault(seen);
    if (fault?.kind === "status" || fault?.kind === "redirect") return faulty(fault, new Uint8Array(), null, url);
    const model = this.#options.models.find((model) => model.repository === repository);
    const allowed = model?.token === undefined || request.headers.get("authorization") === `Bearer ${model.token}`;
    if (model === undefined || !allowed) {
      // As Hugging Face: strangers are not told whether there is one.
      const gated = model?.gated === true && kind === "resolve";
      const headers = {
        "x-error-code": gated ? "GatedRepo" : "RepoNotFound",
        "x-error-message": gated ? "Access is restricted." : "Repository not found",
      };
      return Response.json({ error: headers["x-error-message"] }, {
        status: gated ? 403 : request.headers.has("authorization") ? 404 : 401,
        headers,
      });
    }
    const commit = commitOf(model);
    if (![commit, ...model.revisions ?? ["main"]].includes(revision)) {
      return Response.json({ error: "Invalid rev id" }, { status: 404, headers: { "x-error-code": "RevisionNotFound" } });
    }
    if (kind === "info") {
      return Response.json({
        _id: "1",
        id: repository,
        sha: commit,
        private: false,
        gated: model.gated ?? false,
        lastModified: "2026-01-01T00:00:00Z",
      });
    }
    if (kind === "tree") return this.#page(model, url);
    const bytes = model.files.get(file);
    if (bytes === undefined) return new Response(null, { status: 404, headers: { "x-error-code": "EntryNotFound" } });
    const headers = { "x-repo-commit": commit, "x-linked-etag": `"${blobName(bytes)}"`, "x-linked-size": String(bytes.length) };
    if (!this.#isSmall(file)) {
      // By another name: some clients follow to the same one as to the hub itself.
      const location = `http://localhost:${this.#store.addr.port}/${repository}/${file}?signature=secret`;
      return new Response(null, { status: 302, headers: { ...headers, location } });
    }
    return await this.#send(request, bytes, fault, url, { ...headers, etag: headers["x-linked-etag"] });
  }

  async #content(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const [, organisation, name, ...folders] = decodeURIComponent(url.pathname).split("/");
    const file = folders.join("/");
    const bytes = this.#options.models.find(({ repository }) => repository === `${organisation}/${name}`)!.files.get(file)!;
    const fault = this.fault(this.#see(request, "content", file));
    return await this.#send(request, bytes, fault, url, { etag: `"${blobName(bytes)}"` });
  }

  #see(request: Request, kind: SeenRequest["kind"], path: string): SeenRequest {
    const seen = { kind, path, authorization: request.headers.get("authorization"), range: request.headers.get("range") };
    this.requests.push(seen);
    return seen;
  }

  #send(request: Request, bytes: Uint8Array<ArrayBuffer>, fault: Fault | null, url: URL, headers: Record<string, string>): Response {
    const [, begin, end = ""] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.get("range") ?? "") ?? [];
    const range = begin === undefined ? null : { from: Number(begin), to: end === "" ? bytes.length : Math.min(bytes.length, Number(end) + 1) };
    return faulty(fault, bytes, range, url, headers, { onSent: (count) => this.sentBytes += count, bytesPerSecond: this.#options.bytesPerSecond });
  }

  #page(model: PublishedModel, url: URL): Response {
    const { pageSize = 1000, alsoListed = [], listed = (entry) => entry } = this.#options;
    const also = alsoListed.map((path) => ({ type: "file", path, size: 5, oid: "0".repeat(40) }));
    const inFolders = url.searchParams.get("recursive") === "true";
    const entries = [
      ...also,
      { type: "directory", path: "onnx", size: 0, oid: "0".repeat(40) },
      ...[...model.files].filter(([path]) => inFolders || !path.includes("/")).map(([path, bytes]) => listed(entry(path, bytes))),
    ];
    const from = Number(url.searchParams.get("cursor") ?? 0);
    const next = new URL(url);
    next.searchParams.set("cursor", String(from + pageSize));
    const headers: Record<string, string> = from + pageSize < entries.length ? { link: `<${next.href}>; rel="next"` } : {};
    return Response.json(entries.slice(from, from + pageSize), { headers });
  }

  #isSmall(path: string): boolean {
    return this.#options.models.every(({ files }) => (files.get(path)?.length ?? 0) < LARGE);
  }
}

function entry(path: string, bytes: Uint8Array<ArrayBuffer>): ListedEntry {
  const plain = { type: "file", path, size: bytes.length, oid: gitName(bytes) };
  return bytes.length < LARGE ? plain : { ...plain, lfs: { oid: blobName(bytes), size: bytes.length, pointerSize: 135 } };
}

/** What the cache calls the content of a file. */
export function blobName(bytes: Uint8Array<ArrayBuffer>): string {
  return bytes.length < LARGE ? gitName(bytes) : createHash("sha256").update(bytes).digest("hex");
}

function gitName(bytes: Uint8Array<ArrayBuffer>): string {
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

/** Of a model: other files, another commit. */
export function commitOf({ files }: PublishedModel): string {
  const hash = createHash("sha1");
  for (const [path, bytes] of files) hash.update(path).update(blobName(bytes));
  return hash.digest("hex");
}
