/**
 * Chunks and steps as the ranks of a unit are asked for them, and what they answer, joined.
 *
 * @module
 */
import { isHost } from "../../core/device_kind.ts";
import { LatentmeshError } from "../../core/errors.ts";
import type { LogitsAnswer } from "../../core/generation.ts";
import type { CandidateList } from "../../core/sampling/candidates.ts";
import type { StepTimes } from "../../core/step_times.ts";
import { blockOf } from "../../core/tpla/latent_columns.ts";
import {
  type Answers,
  type AnswerShape,
  type AnswerTimes,
  decodeAnswers,
  encodePrompt,
  encodeStep,
  joinAnswers,
  type QueryFrame,
  type TokenRow,
} from "../../core/wire/queries.ts";
import type { ReplyFrame } from "../../core/wire/rpc.ts";
import type { Placement, PrefillChunk } from "../scheduler/state.ts";
import type { PlannedStep } from "../scheduler/plan.ts";
import type { Growth } from "../scheduler/step_planner.ts";
import type { Unit } from "../fleet/unit.ts";
import type { Asked, SentTables } from "./sent_tables.ts";

/** Milliseconds that a row of a step, or a token of a chunk, may take beyond the deadline of a silent rank. */
const ROW_PATIENCE = 250;
/** The same on GPUs, for a token: of a chunk they may say nothing before all of it is computed. */
const GPU_PATIENCE = 4;

/** Milliseconds in which a unit must get on with so many rows. */
export function patienceFor(unit: Unit, rows: number, deadlineMs: number): number {
  const onCpu = unit.members.some((member) => member !== undefined && member !== null && isHost(member.hello.device.kind));
  return deadlineMs + rows * (onCpu ? ROW_PATIENCE : GPU_PATIENCE);
}

/** What is asked of the last rows of a step or the last position of a chunk. */
export interface Questions {
  readonly asked: readonly Asked[];
  readonly tables: SentTables;
  /** Number of token ids. */
  readonly vocabulary: number;
}

/** What a chunk is asked besides computing it. */
export interface ChunkQuestions extends Questions {
  /** Candidates wanted at every position; null: none. */
  readonly promptLogprobs: number | null;
}

/** What a chunk gives. */
export interface ChunkAnswers {
  readonly answers: readonly LogitsAnswer[];
  readonly prompt: readonly CandidateList[];
}

/** Makes room for a placement on its decode group. */
export async function openPlacement(group: Unit, { id, sequence, from, decodeBlocks }: Placement, deadlineMs: number): Promise<void> {
  const request = { epoch: group.epoch, sequence: id, tokens: sequence.prompt.length, from, blocks: [...decodeBlocks] };
  await group.ask("open", request, "done", { deadlineMs });
}

/** Where a chunk's latents go: a group, and how many rows its steps have, in which it may be silent. */
export interface ChunkTarget {
  readonly group: Unit;
  readonly stepRows: number;
}

/** A prefill chunk, or some of its layers. */
export interface ChunkPart {
  readonly chunk: PrefillChunk;
  readonly layers: { readonly first: number; readonly end: number };
  /** Where its latents go; null where it is generated from. */
  readonly target: ChunkTarget | null;
  /** Whether the unit answers when it is computed; if not, as soon as it is under way. */
  readonly awaited: boolean;
}

/**
 * Computes a prefill chunk, or layers of one.
 *
 * @param questions nothing, but with the last layers
 * @param deadlineMs silence that is too long whatever a unit computes
 */
export async function computeChunk(
  unit: Unit,
  { chunk, layers, target, awaited }: ChunkPart,
  { promptLogprobs, deadlineMs, ...questions }: ChunkQuestions & { readonly deadlineMs: number },
): Promise<ChunkAnswers> {
  const { placement: { id, sequence: { prompt }, promptBlocks, decodeBlocks, mixed, inPlace, from }, start, count, last } = chunk;
  const begin = chunk.begin && layers.first === 0;
  const following = last ? null : prompt[start + count];
  const { vocabulary } = questions;
  const { queries, told } = tell(unit, questions);
  const computed = unit.ask(
    "prefill",
    {
      epoch: unit.epoch,
      sequence: id,
      begin: begin
        ? {
          length: prompt.length,
          blocks: [...promptBlocks],
          target: target === null ? null : { ...targetOf(target, deadlineMs), from },
          stays: inPlace,
          slices: mixed && !inPlace ? { tokens: prompt.length, from, blocks: [...decodeBlocks] } : null,
        }
        : null,
      start,
      tokens: count,
      layers,
      last,
      awaited,
      asks: queries.length,
      promptLogprobs,
      following: promptLogprobs === null ? null : following,
    },
    "candidates",
    {
      payload: encodePrompt(layers.first === 0 ? prompt.slice(start, start + count) : [], queries),
      deadlineMs: patienceFor(unit, count, deadlineMs),
    },
  );
  const [replies] = await Promise.all([computed, told]);
  const lists = promptLogprobs === null ? 0 : last ? count - 1 : count;
  const ranks = decode(replies, { queries, prompt: lists, promptCandidates: promptLogprobs ?? 0 });
  const { answers, prompt: scored } = join(ranks, vocabulary, (i) => prompt[start + i + 1]);
  return { answers, prompt: scored };
}

function targetOf({ group, stepRows }: ChunkTarget, deadlineMs: number) {
  return { group: group.name, epoch: group.epoch, silentMs: patienceFor(group, stepRows, deadlineMs) };
}

/** Waits until every rank of a group has its share of a computed prompt. @param chunkTokens most tokens of a chunk, which the unit may compute meanwhile */
export async function awaitHandoff(unit: Unit, { id }: Placement, chunkTokens: number, deadlineMs: number): Promise<void> {
  await unit.ask("handed", { epoch: unit.epoch, sequence: id }, "done", { deadlineMs: patienceFor(unit, chunkTokens, deadlineMs) });
}

/** Runs a step; `times` is added to. @param behind layers that are begun with meanwhile */
export async function runStep(
  unit: Unit,
  { rows, forks, grow }: PlannedStep,
  behind: Pick<ChunkPart, "chunk" | "layers"> | null,
  { deadlineMs, times, ...questions }: Questions & { readonly deadlineMs: number; readonly times: StepTimes },
): Promise<readonly LogitsAnswer[]> {
  const started = performance.now();
  const { vocabulary } = questions;
  const { queries, told } = tell(unit, questions);
  const computed = unit.ask(
    "step",
    {
      epoch: unit.epoch,
      rows: rows.length,
      asks: queries.length,
      // Ranks know the blocks that are shared: they are the first ones of where it is forked from.
      forks: forks.map(({ placement, from, tokens, shared, blocks }) => ({
        sequence: placement.id,
        from: from.id,
        tokens,
        blocks: blocks.slice(shared),
      })),
      behind: behind === null ? null : { sequence: behind.chunk.placement.id, start: behind.chunk.start, layers: behind.layers },
      grow: grow.map(({ sequence, blocks }) => ({ sequence, blocks: [...blocks] })),
    },
    "candidates",
    { payload: encodeStep(rows, queries), deadlineMs: deadlineMs + rows.length * ROW_PATIENCE },
  );
  const [replies] = await Promise.all([computed, told]);
  const ranks = decode(replies, { queries, prompt: 0, promptCandidates: 0 });
  const { answers } = join(ranks, vocabulary, () => 0);
  const waits = ranks.map(({ waitsMs }) => waitsMs);
  const exchange = waits[0].reduce((sum, _, i) => sum + Math.min(...waits.map((rank) => rank[i])), 0);
  times.steps++;
  times.rows += rows.length;
  times.totalMs += performance.now() - started;
  times.exchangeMs += exchange;
  const slowest = Math.max(...ranks.map(({ totalMs }) => totalMs));
  times.workerMs += slowest;
  times.computeMs += Math.max(0, slowest - exchange);
  return answers;
}

/** Drafts of the tokens behind some rows. @param draft.ahead whether those are drafts themselves */
export async function runDraft(
  unit: Unit,
  { rows, grow, ahead }: { readonly rows: readonly TokenRow[]; readonly grow: readonly Growth[]; readonly ahead: boolean },
  { deadlineMs, ...questions }: Questions & { readonly deadlineMs: number },
): Promise<readonly LogitsAnswer[]> {
  const { vocabulary } = questions;
  const { queries, told } = tell(unit, questions);
  const request = { epoch: unit.epoch, rows: rows.length, ahead, grow: grow.map(({ sequence, blocks }) => ({ sequence, blocks: [...blocks] })) };
  const computed = unit.ask("draft", request, "candidates", {
    payload: encodeStep(rows, queries),
    deadlineMs: deadlineMs + rows.length * ROW_PATIENCE,
  });
  const [replies] = await Promise.all([computed, told]);
  return join(decode(replies, { queries, prompt: 0, promptCandidates: 0 }), vocabulary, () => 0).answers;
}

/** All logits that the unit's last chunk or step was asked about as number `index`, with the query's changes: [vocabulary]. */
export async function wholeRow(unit: Unit, index: number, vocabulary: number): Promise<Float32Array> {
  const replies = await unit.ask("row", { epoch: unit.epoch, index }, "row");
  const row = new Float32Array(vocabulary);
  replies.forEach(({ payload }, rank) => {
    const { begin, end } = blockOf(vocabulary, replies.length, rank);
    if (payload.byteLength !== (end - begin) * 4) throw new LatentmeshError("protocol", `Rank ${rank} sent ${payload.byteLength} bytes of logits`);
    row.set(new Float32Array(payload.buffer, payload.byteOffset, end - begin), begin);
  });
  return row;
}

/** Sends what queries refer to ahead of them; frames of a link arrive in order. */
function tell(unit: Unit, { asked, tables }: Questions): { readonly queries: readonly QueryFrame[]; readonly told: Promise<unknown> } {
  const { epoch } = unit;
  const { tables: frames, queries } = tables.refer(epoch, asked);
  return { queries, told: Promise.all(frames.map(({ payload, ...frame }) => unit.ask("tables", { epoch, ...frame }, "done", { payload }))) };
}

/** What each rank answers. */
function decode(replies: readonly ReplyFrame<"candidates">[], shape: Omit<AnswerShape, "sums">): (Answers & AnswerTimes)[] {
  return replies.map(({ reply: { sums }, payload }) => decodeAnswers(payload, { ...shape, sums }));
}

function join(ranks: readonly Answers[], vocabulary: number, target: (promptPosition: number) => number): Answers {
  const ends = Array.from(ranks, (_, rank) => blockOf(vocabulary, ranks.length, rank).end);
  return joinAnswers(ranks, (i) => ends.findIndex((end) => target(i) < end));
}
