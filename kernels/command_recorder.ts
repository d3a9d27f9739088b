/**
 * Encodes commands, where it can before they are asked for. Decoding submits the same commands step after step, and encoding them takes longer than many GPUs
 * take for them: while a submission runs, the one that followed it before is encoded again. If the commands that come turn out to be the same, only their buffer
 * is submitted; at the first that differs, those before it are encoded after all.
 *
 * @module
 */

/** One run of a pipeline. */
interface Dispatch {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  /** Where its parameters are in the buffer of uniforms. */
  readonly offset: number;
  readonly x: number;
  readonly y: number;
  readonly z: number;
}

/** One copy between buffers. */
export interface Copy {
  readonly source: GPUBuffer;
  readonly sourceOffset: number;
  readonly destination: GPUBuffer;
  readonly bytes: number;
}

/** What is recorded. */
export type Command = Dispatch | Copy;

/**
 * The commands of one submission, and what came after them. They may name buffers that were destroyed since: that is an error only if they are submitted, and
 * nobody asks for them any more.
 */
interface Trace {
  readonly commands: readonly Command[];
  next: Trace | null;
  /** Whether `next` came again the last time. */
  confirmed: boolean;
}

/** Commands on their way into a command buffer. */
class Encoding {
  readonly encoder: GPUCommandEncoder;
  readonly #offsets: number[] = [0];
  #pass: GPUComputePassEncoder | null;

  constructor(gpu: GPUDevice, pass?: GPUComputePassDescriptor) {
    this.encoder = gpu.createCommandEncoder();
    this.#pass = pass === undefined ? null : this.encoder.beginComputePass(pass);
  }

  add(command: Command): void {
    if (isCopy(command)) {
      this.endPass();
      this.encoder.copyBufferToBuffer(command.source, command.sourceOffset, command.destination, 0, command.bytes);
      return;
    }
    this.#pass ??= this.encoder.beginComputePass();
    this.#pass.setPipeline(command.pipeline);
    // `setBindGroup` copies the offsets.
    this.#offsets[0] = command.offset;
    this.#pass.setBindGroup(0, command.group, this.#offsets);
    this.#pass.dispatchWorkgroups(command.x, command.y, command.z);
  }

  endPass(): void {
    this.#pass?.end();
    this.#pass = null;
  }

  finish(): GPUCommandBuffer {
    this.endPass();
    return this.encoder.finish();
  }
}

function isCopy(command: Command): command is Copy {
  return "source" in command;
}

/** Turns commands into command buffers, one per submission. */
export class CommandRecorder {
  readonly #gpu: GPUDevice;
  /** What is expected to come, encoded, and how much of it has come. */
  #ahead: { readonly trace: Trace; readonly buffer: GPUCommandBuffer } | null = null;
  #came = 0;
  /** What has come and was not expected. */
  #commands: Command[] = [];
  #encoding: Encoding | null = null;
  #last: Trace | null = null;
  /** The last trace that began with the same bind group, or the same copy's destination. */
  readonly #traces = new WeakMap<GPUBindGroup | GPUBuffer, Trace>();

  constructor(gpu: GPUDevice) {
    this.#gpu = gpu;
  }

  /** Records one command. */
  add(command: Command): void {
    if (this.#ahead !== null) {
      if (isSame(this.#ahead.trace.commands[this.#came], command)) {
        this.#came++;
        return;
      }
      this.#encodeWhatCame();
    }
    this.#commands.push(command);
    this.#encoding ??= new Encoding(this.#gpu);
    this.#encoding.add(command);
  }

  /**
   * Ends a submission.
   *
   * @returns what is to be submitted, and whether it was encoded before; null if nothing was recorded
   */
  finish(): { readonly buffer: GPUCommandBuffer; readonly ahead: boolean } | null {
    if (this.#ahead !== null && this.#came === this.#ahead.trace.commands.length) {
      const { trace, buffer } = this.#ahead;
      this.#ahead = null;
      this.#came = 0;
      this.#learn(trace);
      return { buffer, ahead: true };
    }
    if (this.#came > 0) this.#encodeWhatCame();
    if (this.#encoding === null) return null;
    const buffer = this.#encoding.finish();
    this.#encoding = null;
    this.#learn(this.#traceOf(this.#commands));
    this.#commands = [];
    return { buffer, ahead: false };
  }

  /** Encodes what is expected next; call while the device works. */
  encodeAhead(): void {
    if (this.#ahead !== null || this.#encoding !== null || this.#last === null || !this.#last.confirmed) return;
    const trace = this.#last.next!;
    const encoding = new Encoding(this.#gpu);
    for (const command of trace.commands) encoding.add(command);
    this.#ahead = { trace, buffer: encoding.finish() };
  }

  /**
   * Encodes what `record` records into a pass of its own, from which nothing is learnt. Everything before must have been finished.
   *
   * @param end encodes what comes after the pass
   */
  encodeOne(pass: GPUComputePassDescriptor, record: () => void, end: (encoder: GPUCommandEncoder) => void): GPUCommandBuffer {
    this.#ahead = null;
    this.#last = null;
    const encoding = this.#encoding = new Encoding(this.#gpu, pass);
    record();
    encoding.endPass();
    end(encoding.encoder);
    this.#encoding = null;
    this.#commands = [];
    return encoding.finish();
  }

  /** The commands that came were expected up to here, but are not all, or not the same further on. */
  #encodeWhatCame(): void {
    const { trace } = this.#ahead!;
    this.#ahead = null;
    const came = trace.commands.slice(0, this.#came);
    this.#came = 0;
    if (came.length === 0) return;
    this.#encoding = new Encoding(this.#gpu);
    for (const command of came) this.#encoding.add(command);
    this.#commands.push(...came);
  }

  /** The same trace as before, if it has come before. */
  #traceOf(commands: readonly Command[]): Trace {
    const [first] = commands;
    const key = isCopy(first) ? first.destination : first.group;
    const known = this.#traces.get(key);
    if (known !== undefined && known.commands.length === commands.length && commands.every((command, i) => isSame(known.commands[i], command))) {
      return known;
    }
    const trace: Trace = { commands, next: null, confirmed: false };
    // Most likely what followed the trace that it replaces follows it, too. That is acted upon once it has been seen.
    if (known !== undefined) trace.next = known.next === known ? trace : known.next;
    this.#traces.set(key, trace);
    return trace;
  }

  #learn(trace: Trace): void {
    const last = this.#last;
    if (last !== null) {
      last.confirmed = last.next === trace;
      last.next = trace;
    }
    this.#last = trace;
  }
}

function isSame(a: Command | undefined, b: Command): boolean {
  if (a === undefined) return false;
  if (isCopy(a)) {
    return isCopy(b) && a.source === b.source && a.sourceOffset === b.sourceOffset && a.destination === b.destination && a.bytes === b.bytes;
  }
  return !isCopy(b) && a.group === b.group && a.offset === b.offset && a.pipeline === b.pipeline && a.x === b.x && a.y === b.y && a.z === b.z;
}
