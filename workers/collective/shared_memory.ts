/**
 * Memory that processes of one host share, without native code of our own: a file in /dev/shm, mapped by the C library through Deno's FFI. The file is readable by
 * its owner alone, and gone from the file system as soon as all have it open.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";

/** Where files are that live in memory. */
const DIRECTORY = "/dev/shm";
const NAME = /^\/dev\/shm\/latentmesh-[0-9a-f]{32}$/;
/** Bytes at the beginning that say which segment it is. */
export const KEY_BYTES = 32;

const SYMBOLS = {
  open: { parameters: ["buffer", "i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  lseek: { parameters: ["i32", "i64", "i32"], result: "i64" },
  posix_fallocate: { parameters: ["i32", "i64", "i64"], result: "i32" },
  mmap: { parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
  munmap: { parameters: ["pointer", "usize"], result: "i32" },
  unlink: { parameters: ["buffer"], result: "i32" },
  statvfs: { parameters: ["buffer", "buffer"], result: "i32" },
  sched_yield: { parameters: [], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** Linux's numbers. */
const [O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW, O_CLOEXEC] = [0o2, 0o100, 0o200, 0o400000, 0o2000000];
const OWNER_ONLY = 0o600;
const [PROT_READ, PROT_WRITE, MAP_SHARED] = [1, 2, 1];
const SEEK_END = 2;
/** Of `struct statvfs` on 64-bit machines, in words of 8 bytes: how large a block is, how many there are in all and for users; and more than all of it has. */
const [STATVFS_FRSIZE, STATVFS_BLOCKS, STATVFS_BAVAIL, STATVFS_WORDS] = [1, 2, 4, 32];
/** `MAP_FAILED` */
const FAILED = -1n;

type Library = Deno.DynamicLibrary<typeof SYMBOLS>;
/** Loaded while there are segments. */
let loaded: { readonly library: Library; users: number } | null = null;

/** Why memory cannot be shared here; null if it can, as far as can be told without trying. */
export function whyNotShared(): string | null {
  if (Deno.build.os !== "linux") return `not on ${Deno.build.os}`;
  if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") return "not without --allow-ffi";
  return null;
}

/** Lets another process of this host have the processor. Needs a segment that is open. */
export function yieldProcessor(): void {
  loaded!.library.symbols.sched_yield();
}

/** A mapped segment: {@link KEY_BYTES} that name it, then what its users put there. */
export class SharedMemory {
  /** Its file, until {@link unlink}. */
  readonly path: string;
  readonly bytes: number;
  #memory: ArrayBuffer;
  readonly #address: Deno.PointerObject;
  #linked: boolean;

  private constructor(path: string, bytes: number, address: Deno.PointerObject, linked: boolean) {
    this.path = path;
    this.bytes = bytes;
    this.#address = address;
    this.#memory = Deno.UnsafePointerView.getArrayBuffer(address, bytes);
    this.#linked = linked;
    loaded!.users++;
  }

  /** All of it; empty once it is closed. */
  get memory(): ArrayBuffer {
    return this.#memory;
  }

  /** Names the segment. */
  get key(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#memory, 0, KEY_BYTES).slice();
  }

  /** Bytes that are free where segments are made; infinite where memory itself is the only limit. @throws {LatentmeshError} `unsupported` if they cannot be made here, or it cannot be told */
  static free(): number {
    const { symbols: libc } = acquire();
    try {
      const words = new BigUint64Array(STATVFS_WORDS);
      if (libc.statvfs(pathBytes(DIRECTORY), new Uint8Array(words.buffer)) !== 0) {
        throw new LatentmeshError("unsupported", `There is no ${DIRECTORY}`);
      }
      return words[STATVFS_BLOCKS] === 0n ? Infinity : Number(words[STATVFS_FRSIZE] * words[STATVFS_BAVAIL]);
    } finally {
      release();
    }
  }

  /** Makes a segment of zeros under a random name and key. @throws {LatentmeshError} `out_of_memory` or `unsupported`, saying why it cannot be */
  static create(bytes: number): SharedMemory {
    const path = `${DIRECTORY}/latentmesh-${crypto.getRandomValues(new Uint8Array(16)).toHex()}`;
    return withFile(path, O_RDWR | O_CREAT | O_EXCL, (libc, file) => {
      try {
        // Takes the memory now: what is only promised ends the process when it is written to.
        const error = libc.posix_fallocate(file, 0n, BigInt(bytes));
        if (error !== 0) throw new LatentmeshError("out_of_memory", `${DIRECTORY} has no room for ${bytes} bytes (error ${error})`);
        const segment = new SharedMemory(path, bytes, map(libc, file, bytes), true);
        crypto.getRandomValues(new Uint8Array(segment.#memory, 0, KEY_BYTES));
        return segment;
      } catch (error) {
        libc.unlink(pathBytes(path));
        throw error;
      }
    });
  }

  /** Maps a segment that another process has made. @throws {LatentmeshError} `unsupported` or `protocol`, saying why it cannot be */
  static open(path: string, bytes: number, key: Uint8Array): SharedMemory {
    // Another process says which file it is: it can only be one of ours.
    if (!NAME.test(path)) throw new LatentmeshError("protocol", `${JSON.stringify(path)} is no segment's name`);
    return withFile(path, O_RDWR, (libc, file) => {
      const size = libc.lseek(file, 0n, SEEK_END);
      if (size !== BigInt(bytes)) throw new LatentmeshError("protocol", `${path} has ${size} bytes where ${bytes} were announced`);
      const segment = new SharedMemory(path, bytes, map(libc, file, bytes), false);
      if (segment.key.some((byte, i) => byte !== key[i])) {
        segment.close();
        throw new LatentmeshError("protocol", `${path} is another segment than was announced`);
      }
      return segment;
    });
  }

  /** Takes its name away; who has it open keeps it. */
  unlink(): void {
    if (this.#linked) loaded!.library.symbols.unlink(pathBytes(this.path));
    this.#linked = false;
  }

  /** Unmaps it. Views of it are empty from now on. */
  close(): void {
    if (this.#memory.byteLength === 0) return;
    this.unlink();
    this.#memory.transfer(0);
    this.#memory = new ArrayBuffer(0);
    loaded!.library.symbols.munmap(this.#address, BigInt(this.bytes));
    release();
  }
}

/** Opens a file for as long as `use` takes. */
function withFile<T>(path: string, flags: number, use: (libc: Library["symbols"], file: number) => T): T {
  const { symbols: libc } = acquire();
  try {
    const file = libc.open(pathBytes(path), flags | O_NOFOLLOW | O_CLOEXEC, OWNER_ONLY);
    if (file < 0) throw new LatentmeshError("unsupported", `${path} cannot be opened`);
    try {
      return use(libc, file);
    } finally {
      libc.close(file);
    }
  } finally {
    release();
  }
}

function acquire(): Library {
  if (loaded === null) {
    const why = whyNotShared();
    if (why !== null) throw new LatentmeshError("unsupported", `memory is not shared here: ${why}`);
    try {
      loaded = { library: Deno.dlopen("libc.so.6", SYMBOLS), users: 0 };
    } catch (cause) {
      throw new LatentmeshError("unsupported", `the C library cannot be used: ${messageOf(cause)}`, { cause });
    }
  }
  loaded.users++;
  return loaded.library;
}

function release(): void {
  if (--loaded!.users > 0) return;
  loaded!.library.close();
  loaded = null;
}

function map(libc: Library["symbols"], file: number, bytes: number): Deno.PointerObject {
  const address = libc.mmap(null, BigInt(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0n);
  if (address === null || BigInt.asIntN(64, Deno.UnsafePointer.value(address)) === FAILED) {
    throw new LatentmeshError("out_of_memory", `${bytes} bytes cannot be mapped`);
  }
  return address;
}

/** As C has strings. */
function pathBytes(path: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${path}\0`);
}
