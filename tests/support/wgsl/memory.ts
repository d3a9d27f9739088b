/**
 * Memory that an emulated shader sees. Access beyond its end is an error, as it is nowhere else: Dawn's checks are off where this project serves.
 *
 * @module
 */

const VIEW = new DataView(new ArrayBuffer(4));

/** A binding, or a workgroup's memory. */
export class Memory {
  readonly name: string;
  readonly u32: Uint32Array<ArrayBuffer>;
  readonly f32: Float32Array<ArrayBuffer>;
  readonly f16: Float16Array<ArrayBuffer>;

  constructor(name: string, buffer: ArrayBuffer) {
    this.name = name;
    this.u32 = new Uint32Array(buffer);
    this.f32 = new Float32Array(buffer);
    this.f16 = new Float16Array(buffer);
  }

  /** Reads an element at a byte. */
  load(of: "u32" | "f32", offset: number, thread: number): number {
    const word = offset / 4;
    this.read(word, thread);
    return of === "f32" ? this.f32[word] : this.u32[word];
  }

  /** Reads so many. */
  loadVector(of: "u32" | "f32", size: number, offset: number, thread: number): number[] {
    const values = new Array<number>(size);
    for (let i = 0; i < size; i++) values[i] = this.load(of, offset + 4 * i, thread);
    return values;
  }

  /** Writes an element. */
  store(of: "u32" | "f32", offset: number, value: number, thread: number): void {
    const word = offset / 4;
    if (of === "f32") VIEW.setFloat32(0, value);
    const bits = of === "f32" ? VIEW.getUint32(0) : value;
    this.write(word, thread, bits);
    this.u32[word] = bits;
  }

  /** Writes several. */
  storeVector(of: "u32" | "f32", offset: number, values: readonly number[], thread: number): void {
    for (let i = 0; i < values.length; i++) this.store(of, offset + 4 * i, values[i], thread);
  }

  /** Adds to an atomic element, which no barrier is needed for. @returns what it was */
  add(offset: number, value: number): number {
    const was = this.u32[offset / 4];
    this.u32[offset / 4] = was + value;
    return was;
  }

  /** Who reads a word. @param thread a thread of its workgroup, or a subgroup as a whole, which is a negative number */
  read(word: number, _thread: number): void {
    if (!(word < this.u32.length)) throw new RangeError(`${this.name} has ${this.u32.length} words, and word ${word} is read`);
  }

  /** Who writes a word, before it does. */
  write(word: number, _thread: number, _bits: number): void {
    if (!(word < this.u32.length)) throw new RangeError(`${this.name} has ${this.u32.length} words, and word ${word} is written`);
  }
}

const NOBODY = 0x7fffffff;
const SEVERAL = 0x7ffffffe;

/** Workgroup memory, which also finds out who reads or writes what another has written since the last barrier. */
export class WorkgroupMemory extends Memory {
  /** Barriers so far. */
  epoch = 1;
  readonly #written: Uint32Array;
  readonly #writer: Int32Array;
  readonly #readAt: Uint32Array;
  readonly #reader: Int32Array;

  constructor(name: string, bytes: number) {
    super(name, new ArrayBuffer(bytes));
    const words = bytes / 4;
    this.#written = new Uint32Array(words);
    this.#readAt = new Uint32Array(words);
    this.#writer = new Int32Array(words).fill(NOBODY);
    this.#reader = new Int32Array(words).fill(NOBODY);
  }

  /** As it is when a workgroup begins. */
  clear(): void {
    this.u32.fill(0);
    this.epoch++;
  }

  override read(word: number, thread: number): void {
    super.read(word, thread);
    if (this.#written[word] === this.epoch && this.#writer[word] !== thread) this.#fail("reads", word, thread, this.#writer[word], "wrote");
    if (this.#readAt[word] === this.epoch && this.#reader[word] !== thread) this.#reader[word] = SEVERAL;
    else this.#reader[word] = thread;
    this.#readAt[word] = this.epoch;
  }

  override write(word: number, thread: number, bits: number): void {
    super.write(word, thread, bits);
    if (this.#written[word] === this.epoch && this.#writer[word] !== thread && this.u32[word] !== bits) {
      this.#fail("writes", word, thread, this.#writer[word], "wrote");
    }
    if (this.#readAt[word] === this.epoch && this.#reader[word] !== thread && this.u32[word] !== bits) {
      this.#fail("writes", word, thread, this.#reader[word], "read");
    }
    this.#written[word] = this.epoch;
    this.#writer[word] = thread;
  }

  #fail(does: string, word: number, thread: number, other: number, did: string): never {
    const name = (thread: number) => thread === SEVERAL ? "several threads" : thread < 0 ? `subgroup ${-1 - thread}` : `thread ${thread}`;
    throw new Error(`${name(thread)} ${does} word ${word} of ${this.name}, which ${name(other)} ${did} since the last barrier`);
  }
}
