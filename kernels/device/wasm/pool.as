// Threads that share jobs. A job's pieces are taken some at a time, a share of those that are left, from one ticket, whose upper half is the job's number, so that
// nobody takes pieces of another job than the one whose arguments he has read.
import { absorb } from "../../absorb/absorb";
import { activate, linear } from "../../linear/linear";
import { round } from "../../linear/round";
import { linearRounded } from "../../linear/rounded";
import { dotInt4, split } from "../../linear/dot_int4";
import { linearInt4 } from "../../linear/int4";
import { candidates } from "../../candidates/candidates";
import { indexScores } from "../../index_scores/index_scores";
import { latentDecode } from "../../latent_decode/latent_decode";
import { latentMerge } from "../../latent_decode/latent_merge";
import { latentLse, latentShare } from "../../latent_decode/latent_share";
import { mlaPrefill, prefillMerge } from "../../mla_prefill/mla_prefill";
import { mergeCandidates } from "../../merge_candidates/merge_candidates";
import { combine } from "../../moe_combine/moe_combine";
import { moeRoute } from "../../moe_route/moe_route";
import { sumParts } from "../../rank_parts/rank_parts";
import { normalise } from "../../rms_norm/rms_norm";
import { ropeStore } from "../../rope_store/rope_store";

// Where jobs lie (kernels/device/wasm/pool.ts).
// @ts-ignore: decorator
@unmanaged
class Jobs {
  ticket: u64;
  job: u32;
  completed: u32;
  kernel: u32;
  args: usize;
  pieces: u32;
  shares: u32;
  sleepers: u32;
  stopped: u32;
}

// @ts-ignore: decorator
@inline
const TICKET = offsetof<Jobs>("ticket"), JOB = offsetof<Jobs>("job"), COMPLETED = offsetof<Jobs>("completed");
// @ts-ignore: decorator
@inline
const SLEEPERS = offsetof<Jobs>("sleepers"), STOPPED = offsetof<Jobs>("stopped");

// How often a thread polls for a job before it sleeps, which costs some 50 µs to end.
const POLLS: u32 = 20000;

function invoke(kernel: u32, args: usize, first: u32, end: u32, scratch: usize): void {
  switch (kernel) {
    case 0: return linear(args, first, end, scratch);
    case 1: return activate(args, first, end, scratch);
    case 2: return normalise(args, first, end, scratch);
    case 3: return absorb(args, first, end, scratch);
    case 4: return latentDecode(args, first, end, scratch);
    case 5: return latentMerge(args, first, end, scratch);
    case 6: return mlaPrefill(args, first, end, scratch);
    case 7: return combine(args, first, end, scratch);
    case 8: return candidates(args, first, end, scratch);
    case 9: return ropeStore(args, first, end, scratch);
    case 10: return sumParts(args, first, end, scratch);
    case 11: return moeRoute(args, first, end, scratch);
    case 13: return round(args, first, end, scratch);
    case 12: return mergeCandidates(args, first, end, scratch);
    case 14: return prefillMerge(args, first, end, scratch);
    case 15: return linearInt4(args, first, end, scratch);
    case 16: return dotInt4(args, first, end, scratch);
    case 17: return split(args, first, end, scratch);
    case 18: return linearRounded(args, first, end, scratch);
    case 19: return latentLse(args, first, end, scratch);
    case 20: return latentShare(args, first, end, scratch);
    case 21: return indexScores(args, first, end, scratch);
  }
}

// A kernel may keep what it has made for some pieces until the next of the same job: at the beginning of one, the first word of scratch is 0.

// Runs a kernel here, and nowhere else.
export function runAlone(kernel: u32, args: usize, pieces: u32, scratch: usize): void {
  store<usize>(scratch, 0);
  invoke(kernel, args, 0, pieces, scratch);
}

// Runs a kernel here and in all threads; returns when it is done.
export function runTogether(jobs: usize, kernel: u32, args: usize, pieces: u32, shares: u32, scratch: usize): void {
  const all = changetype<Jobs>(jobs);
  const job = atomic.load<u32>(jobs, JOB) + 1;
  // Closed, so that nobody who reads what follows half written can take a piece.
  atomic.store<u64>(jobs, (<u64>job << 32) | 0xffffffff, TICKET);
  all.kernel = kernel;
  all.args = args;
  all.pieces = pieces;
  all.shares = shares;
  atomic.store<u32>(jobs, 0, COMPLETED);
  atomic.store<u64>(jobs, <u64>job << 32, TICKET);
  atomic.store<u32>(jobs, job, JOB);
  if (atomic.load<u32>(jobs, SLEEPERS) != 0) atomic.notify(jobs + JOB, -1);
  takePart(jobs, job, scratch);
  for (let polls: u32 = 0;;) {
    const completed = atomic.load<u32>(jobs, COMPLETED);
    if (completed == pieces) return;
    // Whoever has the last piece may have lost his processor to us.
    if (++polls > POLLS) atomic.wait<i32>(jobs + COMPLETED, completed, 1000000);
  }
}

// What a thread does until it is stopped.
export function serve(jobs: usize, scratch: usize): void {
  let done: u32 = 0;
  for (;;) {
    let polls: u32 = 0;
    let job = atomic.load<u32>(jobs, JOB);
    while (job == done) {
      if (atomic.load<u32>(jobs, STOPPED)) return;
      if (++polls > POLLS) {
        atomic.add<u32>(jobs, 1, SLEEPERS);
        // Not for ever: whoever stops threads does not wait until all of them sleep.
        atomic.wait<i32>(jobs + JOB, done, 1000000000);
        atomic.sub<u32>(jobs, 1, SLEEPERS);
        polls = 0;
      }
      job = atomic.load<u32>(jobs, JOB);
    }
    takePart(jobs, job, scratch);
    done = job;
  }
}

function takePart(jobs: usize, job: u32, scratch: usize): void {
  const all = changetype<Jobs>(jobs);
  const kernel = all.kernel, args = all.args, pieces = all.pieces, shares = all.shares;
  store<usize>(scratch, 0);
  for (;;) {
    const ticket = atomic.load<u64>(jobs, TICKET);
    const first = <u32>ticket;
    if (<u32>(ticket >> 32) != job || first >= pieces) return;
    // Less and less, so that all are done at about the same time.
    const end = first + max<u32>(1, (pieces - first) / shares);
    if (atomic.cmpxchg<u64>(jobs, ticket, (<u64>job << 32) | end, TICKET) != ticket) continue;
    invoke(kernel, args, first, end, scratch);
    if (atomic.add<u32>(jobs, end - first, COMPLETED) + (end - first) == pieces) atomic.notify(jobs + COMPLETED, -1);
  }
}
