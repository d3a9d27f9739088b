/**
 * Encodes commands, where it can before they are asked for: encoding takes longer than many GPUs take for what is encoded. Whoever knows what is most likely recorded
 * next says so while a submission runs, and it is encoded then. If the commands that come are the same, only their buffers are submitted; at the first that
 * differs, those before it are encoded after all. Nothing is learnt, and nothing is kept.
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
  #pass: GPUComputePassEncoder | null;
  /** The pass's. */
  #pipeline: GPUComputePipeline | null = null;
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
    if (command.pipeline !== this.#pipeline) this.#pass.setPipeline(this.#pipeline = command.pipeline);
    this.#pass.setBindGroup(0, command.group);
    this.#pass.dispatchWorkgroups(command.x, command.y, command.z);
  }

  endPass(): void {
    this.#pass?.end();
    this.#pass = null;
    this.#pipeline = null;
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

/** Commands of the first piece of what is encoded ahead. */
const FIRST_PIECE = 32;
/** How much longer each piece is than the one before: devices take longer for a command than it takes to submit one, by more than this. */
const PIECE_GROWTH = 3;

/** Commands of each piece of a submission that was not expected: they keep a device busy for longer than submitting them takes. */
const UNEXPECTED_PIECE = 96;

/** What is expected to come, encoded. */
interface Expected {
  readonly commands: readonly Command[];
  /** In order; the last ends with the last command. */
  readonly pieces: readonly { readonly end: number; readonly buffer: GPUCommandBuffer }[];
}

/** How a submission ended. */
export interface Finished {
  /** What is still to be submitted; null if all of it was submitted in pieces. */
  readonly buffer: GPUCommandBuffer | null;
  /** Whether all that was expected has come; null if nothing was expected. */
  readonly foreseen: boolean | null;
}

/** Turns commands into command buffers. */
export class CommandRecorder {
  readonly #gpu: GPUDevice;
  readonly #timing: PassTiming | null;
  /** What is expected to come, how much of it has come, and its pieces that are submitted. */
  #expected: Expected | null = null;
  #came = 0;
  #submitted = 0;
  /** What has come and was not expected. */
  #encoding: Encoding | null = null;
  /** Whether anything has come since the last submission ended, and whether it was what was expected. */
  #begun = false;
  #foreseen: boolean | null = null;
  /** Whether what comes is encoded into one pass of its own. */
  #alone = false;

  constructor(gpu: GPUDevice, timing: PassTiming | null = null) {
    this.#gpu = gpu;
    this.#timing = timing;
  }

  /** Whether a submission has begun. */
  get begun(): boolean {
    return this.#begun;
  }

  /**
   * Records one command.
   *
   * @returns what is to be submitted right away: a piece of the submission all of which has come
   */
  add(command: Command): GPUCommandBuffer | null {
    this.#begun = true;
    if (this.#expected !== null) {
      const { commands, pieces } = this.#expected;
      if (isSame(commands[this.#came], command)) {
        this.#came++;
        const piece = pieces[this.#submitted];
        if (this.#came < piece.end) return null;
        this.#submitted++;
        if (this.#submitted === pieces.length) this.#forget(true);
        return piece.buffer;
      }
      this.#encodeWhatCame();
    }
    this.#encoding ??= new Encoding(this.#gpu, this.#timing);
    this.#encoding.add(command);
    return this.#encoding.commands >= UNEXPECTED_PIECE && !this.#alone ? this.#finishEncoding() : null;
  }

  /** Forgets what was expected next, if nothing of it has come. */
  unexpect(): void {
    if (this.#came === 0) this.#forget(null);
  }

  /** Ends what has come so far, in the middle of a submission. @returns what is to be submitted right away */
  cut(): GPUCommandBuffer | null {
    if (this.#expected !== null) this.#encodeWhatCame();
    return this.#finishEncoding();
  }

  /** Ends a submission; null if nothing was recorded. */
  finish(): Finished | null {
    if (!this.#begun) return null;
    const buffer = this.cut();
    const foreseen = this.#foreseen;
    this.#begun = false;
    this.#foreseen = null;
    return { buffer, foreseen };
  }

  /** Encodes what the next submission is expected to begin with, instead of what was expected before; call while the device works. */
  expect(commands: readonly Command[]): void {
    this.#forget(null);
    const pieces = [];
    for (let begin = 0, size = FIRST_PIECE; begin < commands.length; begin += size, size *= PIECE_GROWTH) {
      const piece = commands.slice(begin, begin + size);
      pieces.push({ end: begin + piece.length, buffer: this.#encode(piece).finish() });
    }
    if (pieces.length > 0) this.#expected = { commands, pieces };
  }

  /**
   * Encodes what `record` records into a pass of its own. Everything before must have been finished.
   *
   * @param end encodes what comes after the pass
   */
  encodeOne(pass: GPUComputePassDescriptor, record: () => void, end: (encoder: GPUCommandEncoder) => void): GPUCommandBuffer {
    this.#forget(null);
    const encoding = this.#encoding = new Encoding(this.#gpu, null, pass);
    this.#alone = true;
    try {
      record();
    } finally {
      this.#alone = false;
      this.#encoding = null;
      this.#begun = false;
    }
    encoding.endPass();
    end(encoding.encoder);
    return encoding.finish();
  }

  /** The commands that came were expected up to here, but are not all, or not the same further on. */
  #encodeWhatCame(): void {
    const { commands, pieces } = this.#expected!;
    const waiting = commands.slice(this.#submitted === 0 ? 0 : pieces[this.#submitted - 1].end, this.#came);
    this.#forget(false);
    if (waiting.length > 0) this.#encoding = this.#encode(waiting);
  }

  #finishEncoding(): GPUCommandBuffer | null {
    const buffer = this.#encoding?.finish() ?? null;
    this.#encoding = null;
    return buffer;
  }

  #encode(commands: readonly Command[]): Encoding {
    const encoding = new Encoding(this.#gpu, this.#timing);
    for (const command of commands) encoding.add(command);
    return encoding;
  }

  #forget(foreseen: boolean | null): void {
    this.#expected = null;
    this.#came = 0;
    this.#submitted = 0;
    this.#foreseen = foreseen;
  }
}

function isSame(a: Command | undefined, b: Command): boolean {
  if (a === b) return true;
  if (a === undefined) return false;
  if (isCopy(a)) {
    return isCopy(b) && a.source === b.source && a.sourceOffset === b.sourceOffset && a.destination === b.destination && a.bytes === b.bytes;
  }
  return !isCopy(b) && a.group === b.group && a.pipeline === b.pipeline && a.x === b.x && a.y === b.y && a.z === b.z;
}
