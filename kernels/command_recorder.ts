/**
 * Encodes commands, where it can before they are asked for. Decoding submits the same commands step after step, and encoding them takes longer than many GPUs
 * take for them: while a submission runs, the one that followed it before is encoded again. If the commands that come turn out to be the same, only their buffers
 * are submitted; at the first that differs, those before it are encoded after all.
 *
 * Submitting takes time, too: Dawn translates commands only then. Long submissions are encoded in pieces, the first of them short, so that the device begins with
 * one while the next is on its way. What was not expected goes out in pieces as well, as soon as one is encoded.
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

/** Times passes where somebody wants to know; see `pass_times.ts`. */
export interface PassTiming {
  /** What a pass that begins is begun with. @param passes those of the command buffer that it is encoded into */
  begin(passes: number[]): GPUComputePassDescriptor | undefined;
  encoded(buffer: GPUCommandBuffer, passes: readonly number[]): void;
}

/** Commands on their way into a command buffer. */
class Encoding {
  readonly encoder: GPUCommandEncoder;
  /** Commands so far. */
  commands = 0;
  readonly #offsets: number[] = [0];
  #pass: GPUComputePassEncoder | null;
  readonly #timing: PassTiming | null;
  readonly #passes: number[] = [];

  constructor(gpu: GPUDevice, timing: PassTiming | null, pass?: GPUComputePassDescriptor) {
    this.#timing = timing;
    this.encoder = gpu.createCommandEncoder();
    this.#pass = pass === undefined ? null : this.encoder.beginComputePass(pass);
  }

  add(command: Command): void {
    this.commands++;
    if (isCopy(command)) {
      this.endPass();
      this.encoder.copyBufferToBuffer(command.source, command.sourceOffset, command.destination, 0, command.bytes);
      return;
    }
    this.#pass ??= this.encoder.beginComputePass(this.#timing?.begin(this.#passes));
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
    const buffer = this.encoder.finish();
    this.#timing?.encoded(buffer, this.#passes);
    return buffer;
  }
}

function isCopy(command: Command): command is Copy {
  return "source" in command;
}

/** Commands of the first piece of a submission that is encoded ahead. */
const FIRST_PIECE = 32;
/** How much longer each piece is than the one before: devices take longer for a command than it takes to submit one, by more than this. */
const PIECE_GROWTH = 3;

/** Commands of each piece of a submission that was not expected: they keep a device busy for longer than submitting them takes. */
const UNEXPECTED_PIECE = 96;

/** A submission that is expected, encoded. */
interface Expected {
  readonly trace: Trace;
  /** In order; the last ends with the last command. */
  readonly pieces: readonly { readonly end: number; readonly buffer: GPUCommandBuffer }[];
}

/** Turns commands into command buffers. */
export class CommandRecorder {
  readonly #gpu: GPUDevice;
  readonly #timing: PassTiming | null;
  /** What is expected to come, encoded, and how much of it has come. */
  #ahead: Expected | null = null;
  #came = 0;
  /** Pieces of what was expected that are submitted. */
  #submitted = 0;
  /** What has come and was not expected. */
  #commands: Command[] = [];
  #encoding: Encoding | null = null;
  /** Whether what comes is encoded into one pass of its own. */
  #alone = false;
  #last: Trace | null = null;
  /** The last trace that began with the same bind group, or the same copy's destination. */
  readonly #traces = new WeakMap<GPUBindGroup | GPUBuffer, Trace>();

  constructor(gpu: GPUDevice, timing: PassTiming | null = null) {
    this.#gpu = gpu;
    this.#timing = timing;
  }

  /**
   * Records one command.
   *
   * @returns what is to be submitted right away: a piece of the submission all of which has come
   */
  add(command: Command): GPUCommandBuffer | null {
    if (this.#ahead !== null) {
      const { trace, pieces } = this.#ahead;
      if (isSame(trace.commands[this.#came], command)) {
        this.#came++;
        const piece = pieces[this.#submitted];
        if (this.#came < piece.end || this.#submitted === pieces.length - 1) return null;
        this.#submitted++;
        return piece.buffer;
      }
      this.#encodeWhatCame();
    }
    this.#commands.push(command);
    this.#encoding ??= new Encoding(this.#gpu, this.#timing);
    this.#encoding.add(command);
    return this.#encoding.commands >= UNEXPECTED_PIECE && !this.#alone ? this.#finishEncoding() : null;
  }

  /**
   * Ends a submission.
   *
   * @returns what is still to be submitted, and whether it was encoded before; null if nothing was recorded
   */
  finish(): { readonly buffer: GPUCommandBuffer | null; readonly ahead: boolean } | null {
    if (this.#ahead !== null && this.#came === this.#ahead.trace.commands.length) {
      const { trace, pieces } = this.#ahead;
      this.#forget();
      this.#learn(trace);
      return { buffer: pieces.at(-1)!.buffer, ahead: true };
    }
    if (this.#came > 0) this.#encodeWhatCame();
    if (this.#commands.length === 0) return null;
    const buffer = this.#finishEncoding();
    this.#learn(this.#traceOf(this.#commands));
    this.#commands = [];
    return { buffer, ahead: false };
  }

  /** Encodes what is expected next; call while the device works. */
  encodeAhead(): void {
    if (this.#ahead !== null || this.#encoding !== null || this.#last === null || !this.#last.confirmed) return;
    const trace = this.#last.next!;
    const pieces = [];
    for (let begin = 0, size = FIRST_PIECE; begin < trace.commands.length; begin += size, size *= PIECE_GROWTH) {
      const commands = trace.commands.slice(begin, begin + size);
      pieces.push({ end: begin + commands.length, buffer: this.#encode(commands) });
    }
    this.#ahead = { trace, pieces };
  }

  /**
   * Encodes what `record` records into a pass of its own, from which nothing is learnt. Everything before must have been finished.
   *
   * @param end encodes what comes after the pass
   */
  encodeOne(pass: GPUComputePassDescriptor, record: () => void, end: (encoder: GPUCommandEncoder) => void): GPUCommandBuffer {
    this.#forget();
    this.#last = null;
    const encoding = this.#encoding = new Encoding(this.#gpu, null, pass);
    this.#alone = true;
    try {
      record();
    } finally {
      this.#alone = false;
    }
    encoding.endPass();
    end(encoding.encoder);
    this.#encoding = null;
    this.#commands = [];
    return encoding.finish();
  }

  /** The commands that came were expected up to here, but are not all, or not the same further on. */
  #encodeWhatCame(): void {
    const { trace, pieces } = this.#ahead!;
    const came = trace.commands.slice(0, this.#came);
    const waiting = came.slice(this.#submitted === 0 ? 0 : pieces[this.#submitted - 1].end);
    this.#forget();
    this.#commands.push(...came);
    if (waiting.length === 0) return;
    this.#encoding = new Encoding(this.#gpu, this.#timing);
    for (const command of waiting) this.#encoding.add(command);
  }

  #finishEncoding(): GPUCommandBuffer | null {
    const buffer = this.#encoding?.finish() ?? null;
    this.#encoding = null;
    return buffer;
  }

  #encode(commands: readonly Command[]): GPUCommandBuffer {
    const encoding = new Encoding(this.#gpu, this.#timing);
    for (const command of commands) encoding.add(command);
    return encoding.finish();
  }

  #forget(): void {
    this.#ahead = null;
    this.#came = 0;
    this.#submitted = 0;
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
