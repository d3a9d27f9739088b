// Chooses the experts of each token, in f64 as the reference does: which expert is next decides what is computed.

// @ts-ignore: decorator
@unmanaged
class Route {
  logits: usize;
  bias: usize;
  routes: usize;
  gates: usize;
  experts: u32;
  active: u32;
  softmax: u32;
  groups: u32;
  activeGroups: u32;
  top2: u32;
  normalize: u32;
  scale: f32;
}

// A piece is a token. Scratch: scores, what is chosen by, and that of groups; all f64.
export function moeRoute(args: usize, first: u32, end: u32, scratch: usize): void {
  const all = changetype<Route>(args);
  const experts = all.experts, active = all.active;
  const choice = scratch + (experts << 3), groups = choice + (experts << 3);
  for (let token = first; token < end; token++) {
    scores(all, all.logits + (token * experts << 2), scratch);
    for (let e: u32 = 0; e < experts; e++) store<f64>(choice + (e << 3), load<f64>(scratch + (e << 3)) + <f64>load<f32>(all.bias + (e << 2)));
    if (all.activeGroups < all.groups) keepBestGroups(all, choice, groups);
    const routes = all.routes + (token * active << 2), gates = all.gates + (token * active << 2);
    let sum: f64 = 1e-20;
    for (let k: u32 = 0; k < active; k++) {
      const expert = take(choice, experts);
      store<u32>(routes + (k << 2), expert);
      sum += load<f64>(scratch + (expert << 3));
    }
    if (!all.normalize) sum = 1;
    for (let k: u32 = 0; k < active; k++) {
      const score = load<f64>(scratch + (load<u32>(routes + (k << 2)) << 3));
      store<f32>(gates + (k << 2), <f32>(score / sum * <f64>all.scale));
    }
  }
}

function scores(all: Route, logits: usize, to: usize): void {
  const experts = all.experts;
  if (!all.softmax) {
    for (let e: u32 = 0; e < experts; e++) store<f64>(to + (e << 3), 1 / (1 + NativeMath.exp(-<f64>load<f32>(logits + (e << 2)))));
    return;
  }
  let most: f64 = -Infinity, sum: f64 = 0;
  for (let e: u32 = 0; e < experts; e++) most = max(most, <f64>load<f32>(logits + (e << 2)));
  for (let e: u32 = 0; e < experts; e++) {
    const weight = NativeMath.exp(<f64>load<f32>(logits + (e << 2)) - most);
    store<f64>(to + (e << 3), weight);
    sum += weight;
  }
  for (let e: u32 = 0; e < experts; e++) store<f64>(to + (e << 3), load<f64>(to + (e << 3)) / sum);
}

// The largest, of equals the first, which is taken out.
function take(values: usize, count: u32): u32 {
  let best: u32 = 0;
  let most = load<f64>(values);
  for (let i: u32 = 1; i < count; i++) {
    const value = load<f64>(values + (i << 3));
    if (value > most) {
      most = value;
      best = i;
    }
  }
  store<f64>(values + (best << 3), -Infinity);
  return best;
}

// Experts of other groups cannot be chosen.
function keepBestGroups(all: Route, choice: usize, groups: usize): void {
  const size = all.experts / all.groups;
  for (let g: u32 = 0; g < all.groups; g++) {
    let most: f64 = -Infinity, second: f64 = -Infinity;
    for (let e = g * size; e < (g + 1) * size; e++) {
      const value = load<f64>(choice + (e << 3));
      if (value > most) {
        second = most;
        most = value;
      } else if (value > second) second = value;
    }
    store<f64>(groups + (g << 3), all.top2 ? most + second : most);
  }
  for (let kept = all.activeGroups; kept > 0; kept--) take(groups, all.groups);
  // Those that were taken are kept.
  for (let g: u32 = 0; g < all.groups; g++) {
    if (load<f64>(groups + (g << 3)) == -Infinity) continue;
    for (let e = g * size; e < (g + 1) * size; e++) store<f64>(choice + (e << 3), -Infinity);
  }
}
