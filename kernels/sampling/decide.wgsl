//@fragment sampling/decide
//@needs CHUNKS ROWS CHUNK_CANDIDATES LOWEST INVOCATIONS SEEN_WORDS partials Draw Best is_better
//@needs best_of sum_of tempered is_greedy is_filtered Summary draw_candidate draw_by_scan history
//@needs step seen token_ids positions counter take_ticket
//@gives StepToken store_record load_record candidate_at load_candidate decide
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
