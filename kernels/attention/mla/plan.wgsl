//@fragment attention/mla/plan
//@needs INVOCATIONS SLOTS STRETCHES STRETCH_ROWS STRETCH_WORDS RESULTS LEAST PER_TOKEN PER_PAIR NOT_EXPANDED
//@needs step sequence_ids positions plan stretches
// Which sequences of a step are expanded, and where their keys and values stand among those of all.
//
// plan u32: expanded sequences; the tokens of their contexts; for each of SLOTS sequences the place of
// its first token, or NOT_EXPANDED; and the expanded sequences in order
// stretches u32, STRETCH_WORDS for each: its first token and its tokens, and which half of what results are
// relative to it reads and writes, each of RESULTS numbers
// One workgroup.

var<workgroup> tokens: array<atomic<u32>, SLOTS>;
var<workgroup> ends: array<atomic<u32>, SLOTS>;

// Whether as many new tokens at the end of a context make it pay to expand all of it.
fn pays(count: u32, end: u32) -> bool {
  let fresh = f32(count);
  let earlier = f32(end) - fresh;
  let pairs = fresh * (earlier + 0.5 * (fresh + 1.0));
  return count >= LEAST && earlier * PER_TOKEN <= pairs * PER_PAIR;
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(local_invocation_index) index: u32) {
  // The number of turns depends on the invocation, as `step_tokens` explains.
  for (var first = 0u; first + index < max(step.x, index); first += INVOCATIONS) {
    let sequence = u32(sequence_ids[first + index]);
    atomicAdd(&tokens[sequence], 1u);
    atomicMax(&ends[sequence], u32(positions[first + index]) + 1u);
  }
  workgroupBarrier();
  if (index > 0u) {
    return;
  }
  var count = 0u;
  var rows = 0u;
  for (var slot = 0u; slot < min(step.z, SLOTS); slot++) {
    let end = atomicLoad(&ends[slot]);
    var place = NOT_EXPANDED;
    if (pays(atomicLoad(&tokens[slot]), end) && rows + end <= STRETCHES * STRETCH_ROWS) {
      place = rows;
      plan[2u + SLOTS + count] = slot;
      count++;
      rows += end;
    }
    plan[2u + slot] = place;
  }
  plan[0] = count;
  plan[1] = rows;
  for (var i = 0u; i < STRETCHES; i++) {
    let at = i * STRETCH_WORDS;
    let first = i * STRETCH_ROWS;
    stretches[at] = first;
    stretches[at + 1u] = min(max(rows, first) - first, STRETCH_ROWS);
    stretches[at + 2u] = (i + 1u) % 2u * RESULTS;
    stretches[at + 3u] = i % 2u * RESULTS;
  }
}
