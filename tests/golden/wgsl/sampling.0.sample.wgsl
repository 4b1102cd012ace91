const INVOCATIONS = 256u;
const PER = 16u;
const CHUNK = 4096u;
const CHUNKS = 38u;
const CAPACITY = 2048u;
const CHUNK_CANDIDATES = 53u;
const V = 151936u;
const SEEN_WORDS = 4748u;
const ROWS = 8u;
const TICKET = true;
const LOWEST = -3.4028234663852886e+38f;

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> draws: array<Draw>;
@group(0) @binding(2) var<storage, read> logits_rows: array<i32>;
@group(0) @binding(3) var<storage, read_write> token_ids: array<i32>;
@group(0) @binding(4) var<storage, read_write> positions: array<i32>;
@group(0) @binding(5) var<storage, read_write> seen: array<atomic<u32>>;
@group(0) @binding(6) var<storage, read_write> history: array<i32>;
@group(0) @binding(7) var<storage, read_write> counter: array<atomic<u32>>;
@group(0) @binding(8) var<storage, read_write> partials: array<atomic<u32>>;
@group(0) @binding(9) var<storage, read_write> tickets: array<atomic<u32>>;
@group(0) @binding(10) var<uniform> step: vec4<u32>;

// Partial results that the last workgroup to arrive combines. Workgroups see each other's writes
// only through atomics. The one that draws the last ticket puts the count back to zero.
fn store_partial(at: u32, value: f32) {
  atomicStore(&partials[at], bitcast<u32>(value));
}

fn load_partial(at: u32) -> f32 {
  return bitcast<f32>(atomicLoad(&partials[at]));
}

fn take_ticket(i: u32, count: u32) -> u32 {
  let before = atomicAdd(&tickets[i], 1u);
  if (before + 1u == count) {
    atomicStore(&tickets[i], 0u);
  }
  return before;
}

// The logits of a row as sampling sees them, and randomness. `kernels/cpu/sample.ts` gives the
// algorithm; this is its twin.

// How the token of a row is drawn, eight words: temperature, top-k, top-p, min-p, repetition
// penalty, seed, row of `seen`, flags.
struct Draw {
  temperature: f32,
  top_k: u32,
  top_p: f32,
  min_p: f32,
  penalty: f32,
  seed: u32,
  slot: u32,
  flags: u32,
}

fn is_greedy(draw: Draw) -> bool {
  return draw.temperature == 0.0;
}

fn has_top_k(draw: Draw) -> bool {
  return draw.top_k > 0u && draw.top_k < V;
}

// Whether some tokens are left out, so that the choice needs the largest logit first.
fn is_filtered(draw: Draw) -> bool {
  return has_top_k(draw) || draw.top_p < 1.0 || draw.min_p > 0.0;
}

// The logit of a token after the repetition penalty; LOWEST stands for -infinity.
fn penalized(logit: f32, id: u32, draw: Draw) -> f32 {
  var result = logit;
  if (draw.penalty != 1.0) {
    let word = atomicLoad(&seen[draw.slot * SEEN_WORDS + id / 32u]);
    if (((word >> (id % 32u)) & 1u) == 1u) {
      result = select(logit * draw.penalty, logit / draw.penalty, logit > 0.0);
    }
  }
  return max(result, LOWEST);
}

// NaN or +infinity, told by their bits: comparisons of floats may be optimized away.
fn is_broken(logit: f32) -> bool {
  let bits = bitcast<u32>(logit);
  return bits == 0x7f800000u || (bits & 0x7fffffffu) > 0x7f800000u;
}

fn tempered(logit: f32, draw: Draw) -> f32 {
  return max(logit / draw.temperature, LOWEST);
}

// PCG-RXS-M-XS-32 as a hash.
fn pcg(x: u32) -> u32 {
  let state = x * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (word >> 22u) ^ word;
}

// -log(-log(u)) with u = (n + 0.5) / 2^24, n the upper 24 bits of the hash. Near 1 neither u nor its
// logarithm has enough digits in f32, so there -log(u) is the series of 2 artanh(v / (2 - v)) with
// v = 1 - u, which is exact.
fn gumbel(draw: Draw, position: u32, id: u32) -> f32 {
  let n = pcg(draw.seed ^ pcg(position ^ pcg(id))) >> 8u;
  var exponential = 0.0;
  if (n < 0x800000u) {
    exponential = -log((f32(n) + 0.5) * 5.9604645e-8f);
  } else {
    let v = (f32(0xffffffu - n) + 0.5) * 5.9604645e-8f;
    let s = v / (2.0 - v);
    let q = s * s;
    let low = fma(q, fma(q, fma(q, 0.076923077f, 0.09090909f), 0.11111111f), 0.14285715f);
    exponential = 2.0 * s * fma(q, fma(q, fma(q, low, 0.2f), 0.33333334f), 1.0);
  }
  return -log(exponential);
}

// Maxima and sums over the invocations of a workgroup, by trees: the same order in every run.

struct Best { value: f32, id: u32 }

var<workgroup> tree_values: array<f32, INVOCATIONS>;
var<workgroup> tree_bests: array<Best, INVOCATIONS>;

// The largest value; of equal ones the lowest id. Results of these functions are uniform, so that
// shaders may branch on them around barriers.
fn best_of(value: f32, id: u32, index: u32) -> Best {
  tree_bests[index] = Best(value, id);
  for (var half = INVOCATIONS / 2u; half > 0u; half >>= 1u) {
    workgroupBarrier();
    if (index < half) {
      let other = tree_bests[index + half];
      if (is_better(other, tree_bests[index])) {
        tree_bests[index] = other;
      }
    }
  }
  return workgroupUniformLoad(&tree_bests[0]);
}

fn is_better(a: Best, b: Best) -> bool {
  return a.value > b.value || (a.value == b.value && a.id < b.id);
}

fn sum_of(value: f32, index: u32) -> f32 {
  tree_values[index] = value;
  for (var half = INVOCATIONS / 2u; half > 0u; half >>= 1u) {
    workgroupBarrier();
    if (index < half) {
      tree_values[index] += tree_values[index + half];
    }
  }
  return workgroupUniformLoad(&tree_values[0]);
}

// The likely way to draw under filters: every chunk of the vocabulary has handed over its largest
// logits, complete down to the chunk's floor. Of those above every floor nothing is missing, so
// whatever threshold lies among them is exact.

var<workgroup> keys: array<f32, CAPACITY>;
var<workgroup> ids: array<u32, CAPACITY>;
var<workgroup> masses: array<f32, CAPACITY>;
var<workgroup> count: atomic<u32>;
var<workgroup> kept: u32;
var<workgroup> threshold: f32;

const EACH = CAPACITY / INVOCATIONS;

// What the chunks of a row found together.
struct Summary { peak: f32, floor: f32, mass: f32 }

// Collects candidates above the floor and sorts them: larger first, of equal ones the lower id.
// Returns how many there are.
fn collect(row: u32, floor: f32, index: u32) -> u32 {
  if (index == 0u) {
    atomicStore(&count, 0u);
    kept = 0u;
    threshold = LOWEST;
  }
  for (var i = index; i < CAPACITY; i += INVOCATIONS) {
    keys[i] = LOWEST;
    ids[i] = 0xffffffffu;
  }
  workgroupBarrier();
  for (var i = index; i < CHUNKS * CHUNK_CANDIDATES; i += INVOCATIONS) {
    if (i % CHUNK_CANDIDATES < load_record(row, i / CHUNK_CANDIDATES, 6u)) {
      let value = bitcast<f32>(load_candidate(row, i, 0u));
      if (value > floor) {
        let at = atomicAdd(&count, 1u);
        keys[at] = value;
        ids[at] = load_candidate(row, i, 1u);
      }
    }
  }
  let found = workgroupUniformLoad(&count);
  var size = 2u;
  while (size < found) {
    size <<= 1u;
  }
  for (var block = 2u; block <= size; block <<= 1u) {
    for (var stride = block / 2u; stride > 0u; stride >>= 1u) {
      for (var pair = index; pair < size / 2u; pair += INVOCATIONS) {
        let i = (pair / stride) * stride * 2u + pair % stride;
        let j = i + stride;
        let descending = (i & block) == 0u;
        let later = is_better(Best(keys[j], ids[j]), Best(keys[i], ids[i]));
        if (later == descending) {
          let key = keys[i];
          keys[i] = keys[j];
          keys[j] = key;
          let id = ids[i];
          ids[i] = ids[j];
          ids[j] = id;
        }
      }
      workgroupBarrier();
    }
  }
  return found;
}

// masses[i] becomes the mass of candidates 0..i.
fn accumulate(peak: f32, index: u32) {
  var sum = 0.0;
  for (var i = index * EACH; i < (index + 1u) * EACH; i++) {
    sum += exp(keys[i] - peak);
    masses[i] = sum;
  }
  tree_values[index] = sum;
  workgroupBarrier();
  for (var reach = 1u; reach < INVOCATIONS; reach <<= 1u) {
    let own = tree_values[index];
    let before = select(0.0, tree_values[max(index, reach) - reach], index >= reach);
    workgroupBarrier();
    tree_values[index] = before + own;
    workgroupBarrier();
  }
  let before = select(0.0, tree_values[max(index, 1u) - 1u], index > 0u);
  for (var i = index * EACH; i < (index + 1u) * EACH; i++) {
    masses[i] += before;
  }
  workgroupBarrier();
}

// The token, or -1 when the candidates do not suffice to know the threshold.
fn draw_candidate(row: u32, draw: Draw, position: u32, summary: Summary, index: u32) -> i32 {
  let found = collect(row, summary.floor, index);
  if (found == 0u || (has_top_k(draw) && draw.top_k > found)) {
    return -1;
  }
  accumulate(summary.peak, index);
  // Where top-k ends, its ties included.
  let kth = select(LOWEST, keys[max(draw.top_k, 1u) - 1u], has_top_k(draw));
  for (var i = index; i < found; i += INVOCATIONS) {
    if (keys[i] >= kth && (i + 1u == found || keys[i + 1u] < kth)) {
      kept = i + 1u;
    }
  }
  let among = workgroupUniformLoad(&kept);
  if (draw.top_p < 1.0) {
    let mass = workgroupUniformLoad(&masses[among - 1u]);
    let goal = draw.top_p * select(summary.mass, mass, has_top_k(draw));
    if (mass < goal) {
      return -1;
    }
    for (var i = index; i < among; i += INVOCATIONS) {
      if (masses[i] >= goal && (i == 0u || masses[i - 1u] < goal)) {
        threshold = keys[i];
      }
    }
  } else if (!has_top_k(draw) && exp(summary.floor - summary.peak) >= draw.min_p) {
    return -1;
  }
  let least = workgroupUniformLoad(&threshold);
  var best = Best(LOWEST, 0xffffffffu);
  for (var i = index; i < among; i += INVOCATIONS) {
    // The largest stays whatever min-p says.
    let likely = keys[i] == summary.peak || exp(keys[i] - summary.peak) >= draw.min_p;
    if (keys[i] >= least && likely) {
      let score = Best(keys[i] + gumbel(draw, position, ids[i]), ids[i]);
      if (is_better(score, best)) {
        best = score;
      }
    }
  }
  return i32(best_of(best.value, best.id, index).id);
}

// The sure way to draw under filters, for flat distributions whose threshold lies deep: radix
// selection of the threshold over all logits of the row, eight bits a pass. Masses are added as
// 64-bit integers in two words, so their sums do not depend on who comes first.

var<workgroup> bin_counts: array<atomic<u32>, 256>;
var<workgroup> bin_low: array<atomic<u32>, 256>;
var<workgroup> bin_high: array<atomic<u32>, 256>;
var<workgroup> chosen_bin: u32;
var<workgroup> remaining: f32;

// Unsigned numbers in the order of the floats.
fn order_of(value: f32) -> u32 {
  let bits = bitcast<u32>(value + 0.0);
  return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

fn value_of(order: u32) -> f32 {
  return bitcast<f32>(select(~order, order & 0x7fffffffu, (order >> 31u) == 1u));
}

fn logit_of(row: u32, id: u32, draw: Draw) -> f32 {
  return tempered(penalized(logits[row * V + id], id, draw), draw);
}

// The largest value at which what is at least as large, and at least `least`, reaches `goal`:
// counted, or with `by_mass` weighed. A goal of masses is a fraction of their sum.
fn select_threshold(
  row: u32,
  draw: Draw,
  peak: f32,
  least: f32,
  goal: f32,
  by_mass: bool,
  index: u32,
) -> f32 {
  var prefix = 0u;
  var mask = 0u;
  if (index == 0u) {
    remaining = goal;
  }
  for (var digit = 0u; digit < 4u; digit++) {
    let shift = 24u - 8u * digit;
    for (var bin = index; bin < 256u; bin += INVOCATIONS) {
      atomicStore(&bin_counts[bin], 0u);
      atomicStore(&bin_low[bin], 0u);
      atomicStore(&bin_high[bin], 0u);
    }
    workgroupBarrier();
    for (var id = index; id < V; id += INVOCATIONS) {
      let value = logit_of(row, id, draw);
      let order = order_of(value);
      if (value >= least && (order & mask) == prefix) {
        let bin = (order >> shift) & 255u;
        if (by_mass) {
          let mass = u32(exp(value - peak) * 2147483648.0);
          if (atomicAdd(&bin_low[bin], mass) > 0xffffffffu - mass) {
            atomicAdd(&bin_high[bin], 1u);
          }
        } else {
          atomicAdd(&bin_counts[bin], 1u);
        }
      }
    }
    workgroupBarrier();
    if (index == 0u) {
      choose_bin(digit == 0u && by_mass, by_mass);
    }
    prefix |= workgroupUniformLoad(&chosen_bin) << shift;
    mask |= 255u << shift;
  }
  return value_of(prefix);
}

fn bin_weight(bin: u32, by_mass: bool) -> f32 {
  if (by_mass) {
    return (f32(atomicLoad(&bin_high[bin])) * 4294967296.0 + f32(atomicLoad(&bin_low[bin]))) /
      2147483648.0;
  }
  return f32(atomicLoad(&bin_counts[bin]));
}

// Walks the bins from the largest values down to the one in which the goal is reached.
fn choose_bin(is_fraction: bool, by_mass: bool) {
  if (is_fraction) {
    var total = 0.0;
    for (var bin = 0u; bin < 256u; bin++) {
      total += bin_weight(bin, by_mass);
    }
    remaining *= total;
  }
  var left = remaining;
  var chosen = 0u;
  for (var bin = 256u; bin > 0u; bin--) {
    let weight = bin_weight(bin - 1u, by_mass);
    if (weight > 0.0) {
      chosen = bin - 1u;
      if (weight >= left) {
        break;
      }
      left -= weight;
    }
  }
  chosen_bin = chosen;
  remaining = left;
}

fn draw_by_scan(row: u32, draw: Draw, position: u32, peak: f32, index: u32) -> u32 {
  var least = LOWEST;
  for (var phase = 0u; phase < 2u; phase++) {
    let by_mass = phase == 1u;
    if (select(has_top_k(draw), draw.top_p < 1.0, by_mass)) {
      let goal = select(f32(draw.top_k), draw.top_p, by_mass);
      least = max(least, select_threshold(row, draw, peak, least, goal, by_mass, index));
    }
  }
  var best = Best(LOWEST, 0xffffffffu);
  for (var id = index; id < V; id += INVOCATIONS) {
    let value = logit_of(row, id, draw);
    // The largest stays whatever min-p says.
    if (value >= least && (value == peak || exp(value - peak) >= draw.min_p)) {
      let score = Best(value + gumbel(draw, position, id), id);
      if (is_better(score, best)) {
        best = score;
      }
    }
  }
  return best_of(best.value, best.id, index).id;
}

// The end of a draw: the chunks' findings become a token.
//
// A record of a chunk, eight words: largest penalized logit, its id, the winner's score under
// noise, its id, mass, floor, number of candidates, 1 if some logit is no number. Candidates, two
// words each, lie behind the records.
const RECORD = 8u;
const ADVANCE = 1u;

// The token of the step that a row belongs to: its index, and its position in its sequence.
struct StepToken { index: u32, position: u32 }

fn store_record(row: u32, chunk: u32, field: u32, value: u32) {
  atomicStore(&partials[(row * CHUNKS + chunk) * RECORD + field], value);
}

fn load_record(row: u32, chunk: u32, field: u32) -> u32 {
  return atomicLoad(&partials[(row * CHUNKS + chunk) * RECORD + field]);
}

fn candidate_at(row: u32, i: u32) -> u32 {
  return ROWS * CHUNKS * RECORD + (row * CHUNKS * CHUNK_CANDIDATES + i) * 2u;
}

fn load_candidate(row: u32, i: u32, field: u32) -> u32 {
  return atomicLoad(&partials[candidate_at(row, i) + field]);
}

// The token of a row from what its chunks found; -1 when its logits are broken.
fn token_of(row: u32, draw: Draw, position: u32, index: u32) -> i32 {
  var best = Best(LOWEST, 0xffffffffu);
  var winner = best;
  var floor = LOWEST;
  var bad = 0.0;
  for (var chunk = index; chunk < CHUNKS; chunk += INVOCATIONS) {
    let own = Best(bitcast<f32>(load_record(row, chunk, 0u)), load_record(row, chunk, 1u));
    let score = Best(bitcast<f32>(load_record(row, chunk, 2u)), load_record(row, chunk, 3u));
    let left_out = bitcast<f32>(load_record(row, chunk, 5u));
    bad += f32(load_record(row, chunk, 7u));
    if (is_better(own, best)) {
      best = own;
    }
    if (is_better(score, winner)) {
      winner = score;
    }
    floor = max(floor, left_out);
  }
  best = best_of(best.value, best.id, index);
  if (sum_of(bad, index) > 0.0 || best.value <= LOWEST) {
    return -1;
  }
  let peak = tempered(best.value, draw);
  // A temperature so small that f32 overflows leaves no doubt about the winner.
  if (is_greedy(draw) || abs(peak) > 3.4e38) {
    return i32(best.id);
  }
  if (!is_filtered(draw)) {
    return i32(best_of(winner.value, winner.id, index).id);
  }
  var mass = 0.0;
  for (var chunk = index; chunk < CHUNKS; chunk += INVOCATIONS) {
    let own = tempered(bitcast<f32>(load_record(row, chunk, 0u)), draw);
    mass += bitcast<f32>(load_record(row, chunk, 4u)) * exp(own - peak);
  }
  let summary = Summary(peak, best_of(floor, 0u, index).value, sum_of(mass, index));
  let token = draw_candidate(row, draw, position, summary, index);
  if (token >= 0) {
    return token;
  }
  return i32(draw_by_scan(row, draw, position, peak, index));
}

// Writes the token where the host and the next step look for it.
fn finish(row: u32, draw: Draw, last: StepToken, steps: u32, token: i32) {
  history[steps * step.y + row] = token;
  let next = u32(max(token, 0));
  if (token >= 0) {
    atomicOr(&seen[draw.slot * SEEN_WORDS + next / 32u], 1u << (next % 32u));
  }
  if ((draw.flags & ADVANCE) != 0u) {
    token_ids[last.index] = i32(next);
    positions[last.index] = i32(last.position) + 1;
  }
}

fn decide(row: u32, draw: Draw, last: StepToken, index: u32) {
  // The count changes when all rows are done, so that it can be loaded ahead.
  let steps = atomicLoad(&counter[0]);
  let token = token_of(row, draw, last.position, index);
  if (index == 0u) {
    finish(row, draw, last, steps, token);
  }
  if (step.y > 1u) {
    storageBarrier();
  }
  // The last row of the step counts it.
  if (index == 0u && (step.y == 1u || take_ticket(ROWS, step.y) + 1u == step.y)) {
    atomicAdd(&counter[0], 1u);
  }
}

// Draws the next token of every row, on the device.
//
// logits [R, V] f32; draws [R] Draw; logits_rows [R]: the token of the step that a row belongs to;
// positions, token_ids [T]; seen [slots, SEEN_WORDS] bits; history [steps, R]; counter [1]
// Grid: chunk of the vocabulary, row.
//
// A workgroup holds CHUNK logits in registers: INVOCATIONS invocations with PER each. It hands over
// the chunk's largest logit; without filters also its winner under Gumbel noise; with filters the
// chunk's mass, its largest CHUNK_CANDIDATES logits and its floor, the largest one left out. The
// last workgroup of a row decides. The last of all counts the step.
//
// A row whose largest logit is not finite gets -1.

var<workgroup> bins: array<atomic<u32>, 256>;
var<workgroup> cut: u32;
var<workgroup> taken: atomic<u32>;
var<workgroup> broken: atomic<u32>;
var<workgroup> arrived: u32;

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let row = group.y;
  let chunk = group.x;
  // All logits are asked for before any of them, or the rest, is awaited.
  //@repeat i PER
  let id_$i = chunk * CHUNK + $i * INVOCATIONS + index;
  let raw_$i = logits[row * V + min(id_$i, V - 1u)];
  //@end
  let draw = draws[row];
  let token = u32(logits_rows[row]);
  let position = u32(positions[token]);
  var best = Best(LOWEST, 0xffffffffu);
  //@repeat i PER
  var logit_$i = LOWEST;
  if (id_$i < V) {
    logit_$i = penalized(raw_$i, id_$i, draw);
    if (is_broken(raw_$i)) {
      atomicStore(&broken, 1u);
    }
    if (is_better(Best(logit_$i, id_$i), best)) {
      best = Best(logit_$i, id_$i);
    }
  }
  //@end
  best = best_of(best.value, best.id, index);
  if (index == 0u) {
    store_record(row, chunk, 0u, bitcast<u32>(best.value));
    store_record(row, chunk, 1u, best.id);
    store_record(row, chunk, 7u, atomicLoad(&broken));
  }
  if (!is_greedy(draw)) {
    //@repeat i PER
    logit_$i = tempered(logit_$i, draw);
    //@end
    if (is_filtered(draw)) {
      let peak = tempered(best.value, draw);
      var mass = 0.0;
      //@repeat i PER
      let bin_$i = u32(min((peak - logit_$i) * 8.0, 255.0));
      if (id_$i < V) {
        mass += exp(logit_$i - peak);
        atomicAdd(&bins[bin_$i], 1u);
      }
      //@end
      mass = sum_of(mass, index);
      let kept_bins = bins_that_fit(index);
      var floor = LOWEST;
      //@repeat i PER
      if (id_$i < V) {
        if (bin_$i < kept_bins) {
          let at = candidate_at(row, chunk * CHUNK_CANDIDATES + atomicAdd(&taken, 1u));
          atomicStore(&partials[at], bitcast<u32>(logit_$i));
          atomicStore(&partials[at + 1u], id_$i);
        } else {
          floor = max(floor, logit_$i);
        }
      }
      //@end
      floor = best_of(floor, 0u, index).value;
      if (index == 0u) {
        store_record(row, chunk, 4u, bitcast<u32>(mass));
        store_record(row, chunk, 5u, bitcast<u32>(floor));
        store_record(row, chunk, 6u, atomicLoad(&taken));
      }
    } else {
      var winner = Best(LOWEST, 0xffffffffu);
      //@repeat i PER
      if (id_$i < V) {
        let score = Best(logit_$i + gumbel(draw, position, id_$i), id_$i);
        if (is_better(score, winner)) {
          winner = score;
        }
      }
      //@end
      winner = best_of(winner.value, winner.id, index);
      if (index == 0u) {
        store_record(row, chunk, 2u, bitcast<u32>(winner.value));
        store_record(row, chunk, 3u, winner.id);
      }
    }
  }
  if (!TICKET) {
    return;
  }
  storageBarrier();
  if (index == 0u) {
    arrived = take_ticket(row, CHUNKS);
  }
  if (workgroupUniformLoad(&arrived) + 1u < CHUNKS) {
    return;
  }
  storageBarrier();
  decide(row, draw, StepToken(token, position), index);
}

// How many bins, from the largest logits down, hold no more than CHUNK_CANDIDATES of them.
fn bins_that_fit(index: u32) -> u32 {
  var sum = 0u;
  workgroupBarrier();
  if (index == 0u) {
    var fitting = 0u;
    for (var bin = 0u; bin < 256u; bin++) {
      sum += atomicLoad(&bins[bin]);
      if (sum > CHUNK_CANDIDATES) {
        break;
      }
      fitting = bin + 1u;
    }
    cut = fitting;
  }
  return workgroupUniformLoad(&cut);
}
