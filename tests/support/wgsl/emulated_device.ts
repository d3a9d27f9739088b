/**
 * A device with matrix units on any machine: kernels for them run as the WGSL they are, thread by thread, and all others as their references. Besides results it
 * checks what no GPU does: access beyond a buffer or to an address that matrices are not loaded from, workgroup memory that is read or written without a
 * barrier after another thread wrote it, subgroups whose threads are not together, and buffers that are bound twice where they may be written. It cannot tell what
 * a driver makes of a shader, nor how fast.
 *
 * @module
 */
import type { Kernel } from "../../../kernels/authoring/contract.ts";
import { CpuBound, CpuDevice } from "../../../kernels/device/cpu_device.ts";
import { checkBindings, type CompiledKernel, type DeviceBuffer, type DeviceFeatures, type DeviceLimits } from "../../../kernels/device/device.ts";
import { paramsDeclaration } from "../../../kernels/authoring/contract.ts";
import { Memory, WorkgroupMemory } from "./memory.ts";
import { parseShader } from "./parse_shader.ts";
import { translate, type Translation } from "./translate.ts";
import type { Matrix, MatrixPlace, Wait } from "./waits.ts";

const SUBGROUP = 32;

type Thread = Generator<Wait, void, unknown>;

/** A shader as JavaScript. */
interface Program {
  readonly translation: Translation;
  readonly threads: number;
  readonly run: (thread: number, builtins: object) => Thread;
  /** What the next dispatch runs on. */
  readonly give: (given: { readonly memories: ReadonlyMap<string, Memory>; readonly params: Readonly<Record<string, number>> }) => void;
}

/** By their source. One is kept for all devices and dispatches: what runs for the first time runs slowly. */
const programs = new Map<string, Program>();

function programOf(source: string): Program {
  let program = programs.get(source);
  if (program === undefined) {
    const translation = translate(parseShader(source));
    programs.set(source, program = { translation, ...new Function(translation.code)() as Omit<Program, "translation"> });
  }
  return program;
}

/** The CPU device, but with matrix units. */
export class EmulatedDevice extends CpuDevice {
  override readonly features: DeviceFeatures = { matrixUnits: true, subgroups: SUBGROUP };

  /** @param limits smaller limits than the host's, to exercise splitting; of workgroup memory it has as much as GPUs with matrix units */
  constructor(limits: Partial<DeviceLimits> = {}) {
    super({ ...limits, maxWorkgroupBytes: 49152 });
  }

  override async compile<C, B extends string, P extends string>(kernel: Kernel<C, B, P>, config: C): Promise<CompiledKernel<B, P>> {
    const compiled = await this.#compiled(kernel, config);
    return {
      bind(buffers, most) {
        checkBoundOnce(kernel, buffers);
        return compiled.bind(buffers, most);
      },
    };
  }

  #compiled<C, B extends string, P extends string>(kernel: Kernel<C, B, P>, config: C): Promise<CompiledKernel<B, P>> {
    const source = paramsDeclaration(kernel.params) + kernel.wgsl(config);
    if (!source.includes("subgroup_matrix")) return super.compile(kernel, config);
    const program = programOf(source);
    return Promise.resolve({
      bind: (buffers, most) => {
        checkBindings(kernel, config, buffers, most);
        return new CpuBound(kernel.name, kernel.params, most, (params) => {
          const names = Object.keys(kernel.bindings) as B[];
          const memories = names.map((name, i) =>
            new Memory(program.translation.bindings[i], (buffers[name] as DeviceBuffer & { u8: Uint8Array<ArrayBuffer> }).u8.buffer)
          );
          runShader(program, memories, params, kernel.workgroups(config, params));
        });
      },
    });
  }
}

/** WebGPU refuses a dispatch that may write a buffer which it has bound twice. */
function checkBoundOnce<C, B extends string, P extends string>(
  { name, bindings }: Kernel<C, B, P>,
  buffers: Readonly<Record<B, DeviceBuffer>>,
): void {
  for (const [buffer, names] of Map.groupBy(Object.keys(bindings) as B[], (binding) => buffers[binding])) {
    if (names.length > 1 && names.some((binding) => bindings[binding] === "read_write")) {
      throw new Error(`${name} may write ${buffer.label}, which is bound as ${names.join(" and ")}`);
    }
  }
}

function runShader(
  { translation: { workgroupBytes }, threads, run, give }: Program,
  bindings: readonly Memory[],
  params: Readonly<Record<string, number>>,
  [across, down, deep]: readonly [number, number, number],
): void {
  const memories = new Map(bindings.map((memory) => [memory.name, memory]));
  for (const [name, bytes] of workgroupBytes) memories.set(name, new WorkgroupMemory(name, bytes));
  give({ memories, params });
  for (let z = 0; z < deep; z++) {
    for (let y = 0; y < down; y++) {
      for (let x = 0; x < across; x++) {
        for (const memory of memories.values()) if (memory instanceof WorkgroupMemory) memory.clear();
        runWorkgroup(memories, (thread) => {
          return run(thread, {
            workgroup_id: [x, y, z],
            num_workgroups: [across, down, deep],
            local_invocation_index: thread,
            subgroup_id: Math.floor(thread / SUBGROUP),
            subgroup_invocation_id: thread % SUBGROUP,
          });
        }, threads);
      }
    }
  }
}

function runWorkgroup(memories: ReadonlyMap<string, Memory>, start: (thread: number) => Thread, threads: number): void {
  const subgroups = Array.from({ length: threads / SUBGROUP }, (_, subgroup) => {
    return new Subgroup(memories, subgroup, Array.from({ length: SUBGROUP }, (_, lane) => start(subgroup * SUBGROUP + lane)));
  });
  for (;;) {
    for (const subgroup of subgroups) subgroup.runToBarrier();
    const ended = subgroups.filter(({ ended }) => ended).length;
    if (ended === subgroups.length) return;
    if (ended > 0) throw new Error(`${ended} subgroups have ended where others wait at a barrier`);
    for (const memory of memories.values()) if (memory instanceof WorkgroupMemory) memory.epoch++;
  }
}

/** Threads that stay together. */
class Subgroup {
  ended = false;
  readonly #memories: ReadonlyMap<string, Memory>;
  readonly #id: number;
  readonly #threads: readonly Thread[];
  #answers: unknown[] = new Array(SUBGROUP).fill(undefined);

  constructor(memories: ReadonlyMap<string, Memory>, index: number, threads: readonly Thread[]) {
    this.#memories = memories;
    this.#id = -1 - index;
    this.#threads = threads;
  }

  runToBarrier(): void {
    while (!this.ended) {
      const waits = this.#threads.map((thread, lane) => thread.next(this.#answers[lane]).value as Wait | undefined);
      const [first] = waits;
      if (waits.some((wait) => wait?.kind !== first?.kind)) {
        throw new Error(`The threads of a subgroup are apart: ${[...new Set(waits.map((wait) => wait?.kind))]}`);
      }
      if (first === undefined) {
        this.ended = true;
        return;
      }
      this.#answers = this.#answer(waits as Wait[]);
      if (first.kind === "barrier") return;
    }
  }

  #answer(waits: readonly Wait[]): unknown[] {
    const [first] = waits;
    const same = (value: unknown) => new Array(SUBGROUP).fill(value);
    switch (first.kind) {
      case "barrier":
        return same(undefined);
      case "shuffle":
        return waits.map((_, lane) => (waits[lane ^ first.distance] as Extract<Wait, { kind: "shuffle" }>).value);
      case "load":
        this.#checkTogether(waits);
        return same(this.#load(first.place));
      case "store":
        this.#checkTogether(waits);
        this.#store(first.place, first.matrix);
        return same(undefined);
      case "multiply":
        return same(multiply(first.left, first.right, first.sums));
      default:
        return first satisfies never;
    }
  }

  #checkTogether(waits: readonly Wait[]): void {
    const places = waits.map((wait) => (wait as Extract<Wait, { kind: "load" }>).place);
    if (places.some(({ offset, stride }) => offset !== places[0].offset || stride !== places[0].stride)) {
      throw new Error("The threads of a subgroup name different places for a matrix");
    }
  }

  #memoryOf({ memory: name, offset, stride }: MatrixPlace): Memory {
    // Where they do not begin there, loads round addresses down (bench/NOTES.md).
    if (offset % 16 !== 0 || stride % 16 !== 0) throw new Error(`A matrix in ${name} begins at byte ${offset}, with rows of ${stride}`);
    return this.#memories.get(name)!;
  }

  #load(place: MatrixPlace): Matrix {
    const memory = this.#memoryOf(place);
    const { offset, stride, columnMajor, type } = place;
    const [bytes, values] = type === "f16" ? [2, memory.f16] : [4, memory.f32];
    const matrix = new Float32Array(256);
    for (let major = 0; major < 16; major++) {
      for (let minor = 0; minor < 16; minor++) {
        const at = offset + major * stride + minor * bytes;
        memory.read(at >> 2, this.#id);
        matrix[columnMajor ? minor * 16 + major : major * 16 + minor] = values[at / bytes];
      }
    }
    return matrix;
  }

  #store(place: MatrixPlace, matrix: Matrix): void {
    if (place.type === "f16" || place.columnMajor) throw new Error("Only rows of f32 are stored here");
    const memory = this.#memoryOf(place);
    const bits = new Uint32Array(matrix.buffer);
    for (let element = 0; element < 256; element++) {
      const word = (place.offset + (element >> 4) * place.stride) / 4 + element % 16;
      memory.write(word, this.#id, bits[element]);
      memory.f32[word] = matrix[element];
    }
  }
}

/** sums + left · right, added from the first column to the last, as any device adds in an order of its own. */
function multiply(left: Matrix, right: Matrix, sums: Matrix): Matrix {
  const result = sums.slice();
  for (let row = 0; row < 256; row += 16) {
    for (let k = 0; k < 16; k++) {
      const factor = left[row + k];
      for (let column = 0; column < 16; column++) result[row + column] += factor * right[k * 16 + column];
    }
  }
  return result;
}
