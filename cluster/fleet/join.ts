/**
 * Workers of this machine for a cluster whose coordinator is on another.
 *
 * @module
 */
import { withDawn } from "../config/fetched_dawn.ts";
import { sharedOut } from "./share_cores.ts";
import type { DeviceTuning } from "../../core/device_kind.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { JOINED_LINE } from "../../core/wire/protocol.ts";
import { log } from "../logs/log.ts";
import { Supervisor } from "./supervisor.ts";
import type { ClusterServices } from "../planning/services.ts";
import type { Settings } from "../config/settings.ts";
import { PrivateDirectory } from "../processes/private_directory.ts";
import { fetchModel } from "../config/fetch_model.ts";
import { readTls, type Tls } from "../config/tls.ts";

/** What a machine that joins must know. */
export interface JoinSettings {
  /** `ws://` or `wss://` address of the coordinator. */
  readonly coordinator: string;
  readonly token: string;
  /** Name of this machine, as the cluster's configuration has it. */
  readonly host: string;
  /** Address of this machine, where the coordinator and the other workers reach it. */
  readonly advertise: string;
  /** A directory, or a name on the hub: it is fetched to this machine. */
  readonly model: string;
  readonly device: Settings["device"];
  readonly dawn: string | undefined;
  /** Whether passes are timed on devices. */
  readonly tuning: DeviceTuning;
  /** One worker for each. */
  readonly gpus: readonly (number | null)[];
  /** Paths. */
  readonly tls: Tls;
  /** Links without TLS are meant. */
  readonly insecure: boolean;
}

/** Workers that have joined. */
export interface JoinedWorkers extends AsyncDisposable {
  /** Rejects when a worker is given up, because it is refused or fails again and again. */
  readonly failed: Promise<never>;
  /** Stops them. */
  close(): Promise<void>;
}

/** A coordinator that is away for some minutes is waited for. */
const MOST_FAILURES = 100;

/** Starts one worker for each GPU; they join, and join again when they lose their coordinator. @throws {LatentmeshError} `invalid_config` */
export async function startJoining(given: JoinSettings, services: ClusterServices, isLoopback: (host: string) => boolean): Promise<JoinedWorkers> {
  const url = parseAddress(given.coordinator);
  const settings = await withDawn(given);
  if (url.protocol === "ws:" && !isLoopback(url.hostname) && !settings.insecure) {
    throw new LatentmeshError(
      "invalid_config",
      `Cannot join ${settings.coordinator}: it is not encrypted; use wss:// or say that this is meant with --insecure`,
    );
  }
  const secure = settings.tls.cert !== undefined && settings.tls.key !== undefined;
  if (!secure && !isLoopback(settings.advertise) && !settings.insecure) {
    throw new LatentmeshError(
      "invalid_config",
      `Cannot listen on ${settings.advertise} without a certificate; set --tls-cert and --tls-key, or say --insecure`,
    );
  }
  const tls = readTls(settings.tls);
  const fetched = await fetchModel(settings.model);
  const model = await Deno.realPath(fetched.model).catch(() => fetched.model);
  const directory = await PrivateDirectory.create();
  const supervisors = settings.gpus.map((gpu, i) => {
    const supervisor: Supervisor = new Supervisor(`${settings.host}.${i}`, (worker) =>
      services.spawn({
        bootstrap: {
          worker,
          coordinator: settings.coordinator,
          token: new TextEncoder().encode(settings.token).toHex(),
          listen: `${secure ? "wss" : "ws"}://${isLoopback(settings.advertise) ? settings.advertise : "0.0.0.0"}:0`,
          advertise: settings.advertise,
          host: settings.host,
          model,
          device: settings.device,
          dawn: settings.dawn,
          tuning: sharedOut(settings.tuning, settings.gpus.length),
          tls,
        },
        directory: directory.path,
        sockets: null,
        // What they will be is not known before they have joined.
        sharesMemory: true,
        gpu,
        onLine: (line) => {
          if (line !== JOINED_LINE) return false;
          supervisor.ready();
          log("info", `joined  ${settings.coordinator} as worker ${worker}`);
          return true;
        },
      }), { mostFailures: MOST_FAILURES });
    return supervisor;
  });
  const close = async () => {
    await Promise.all(supervisors.map((supervisor) => supervisor.stop()));
    await directory.close();
  };
  return { failed: Promise.race(supervisors.map(({ givenUp }) => givenUp)), close, [Symbol.asyncDispose]: close };
}

function parseAddress(text: string): URL {
  const url = URL.parse(text);
  if (url === null || !/^wss?:$/.test(url.protocol)) {
    throw new LatentmeshError("invalid_config", `Cannot join "${text}": the address of a coordinator looks like wss://host:port`, { param: "join" });
  }
  return url;
}
