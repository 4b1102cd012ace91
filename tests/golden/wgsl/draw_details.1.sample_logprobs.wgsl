const INVOCATIONS = 256u;
const V = 151936u;
const LOWEST = -3.4028234663852886e+38f;
const HEADER_WORDS = 4u;
const RECORD_WORDS = 42u;

@group(0) @binding(0) var<storage, read> draw_details: array<u32>;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> history: array<i32>;
@group(0) @binding(3) var<storage, read_write> logprobs: array<u32>;

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

// Log-probabilities of the tokens that were drawn, and of the likeliest ones.
//
// logits [R, V] f32, as sampling saw them; history [R] i32: the tokens of the step; draw_details: a
// header of HEADER_WORDS for each row, whose fourth word is one more than the number of likeliest
// tokens, or 0 for rows that want nothing.
// logprobs [R, RECORD_WORDS]: log-probability of the token, how many likeliest there are, then
// pairs of their ids and log-probabilities.
// Grid: row.
//
// The likeliest are found one after the other: each is the largest logit behind the one before.

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let row = group.x;
  let wanted = draw_details[row * HEADER_WORDS + 3u];
  if (wanted == 0u) {
    return;
  }
  var best = Best(LOWEST, 0xffffffffu);
  for (var id = index; id < V; id += INVOCATIONS) {
    let own = Best(max(logits[row * V + id], LOWEST), id);
    if (is_better(own, best)) {
      best = own;
    }
  }
  best = best_of(best.value, best.id, index);
  let peak = best.value;
  var mass = 0.0;
  for (var id = index; id < V; id += INVOCATIONS) {
    mass += exp(max(logits[row * V + id], LOWEST) - peak);
  }
  let total = peak + log(sum_of(mass, index));
  let at = row * RECORD_WORDS;
  if (index == 0u) {
    let token = u32(max(history[row], 0));
    logprobs[at] = bitcast<u32>(logits[row * V + min(token, V - 1u)] - total);
  }
  var found = 0u;
  for (var k = 0u; k + 1u < wanted; k++) {
    // Tokens that may not be drawn, and those of a vocabulary that is too small, are no candidates.
    if (best.value <= LOWEST) {
      break;
    }
    found++;
    if (index == 0u) {
      logprobs[at + 2u + 2u * k] = best.id;
      logprobs[at + 3u + 2u * k] = bitcast<u32>(best.value - total);
    }
    var next = Best(LOWEST, 0xffffffffu);
    for (var id = index; id < V; id += INVOCATIONS) {
      let own = Best(max(logits[row * V + id], LOWEST), id);
      if (is_better(best, own) && is_better(own, next)) {
        next = own;
      }
    }
    best = best_of(next.value, next.id, index);
  }
  if (index == 0u) {
    logprobs[at + 1u] = found;
  }
}
