//@fragment sampling/candidates
//@needs CAPACITY INVOCATIONS LOWEST CHUNKS CHUNK_CANDIDATES load_record load_candidate is_better
//@needs Best tree_values Draw has_top_k gumbel best_of
//@gives Summary draw_candidate
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
