//@fragment moe/algorithms/expert_choice
//@needs EXPERTS TOP_K CHOSEN SHARED CHOICE_LANES SCORES ROW_GROUPS LOWEST BY_SOFTMAX selected
//@needs score_at value_of write_weights
//@gives is_idle expert_of
// The choice of experts, made by the workgroups that need it: each finds the expert of its own slot
// from the logits of its token. One workgroup more for each token writes ids and weights for those
// who come after.
//
// CHOICE_LANES neighbouring invocations hold SCORES neighbouring experts each; in every round the best
// that is left is taken out, of equal ones that with the smallest id. A subgroup of more than CHOICE_LANES
// invocations holds them several times, which changes nothing.

// The order of numbers as an order of integers, all above 0; both zeros are equal.
fn key_of(value: f32) -> u32 {
  let bits = bitcast<u32>(select(value, 0.0, value == 0.0));
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

// The expert that comes last when so many are chosen. `writes` keeps all of them.
fn choose(token: u32, slots: u32, index: u32, writes: bool) -> u32 {
  let lane = index % CHOICE_LANES;
  let first = lane * SCORES;
  var top = LOWEST;
  //@repeat s SCORES
  var score_$s = LOWEST;
  if (first + $s < EXPERTS) {
    score_$s = score_at(token, first + $s);
    top = max(top, score_$s);
  }
  //@end
  if (BY_SOFTMAX) {
    top = subgroupMax(top);
  }
  //@repeat s SCORES
  var key_$s = 0u;
  if (first + $s < EXPERTS) {
    key_$s = key_of(value_of(score_$s, first + $s, top));
  }
  //@end
  var expert = 0u;
  var winner = 0u;
  for (var slot = 0u; slot < slots; slot++) {
    var own = 0u;
    //@repeat s SCORES
    own = max(own, key_$s);
    //@end
    let best = subgroupMax(own);
    winner = countTrailingZeros(subgroupBallot(own == best).x);
    var wins = lane == winner;
    //@repeat s SCORES
    if (wins && key_$s == best) {
      key_$s = 0u;
      expert = first + $s;
      wins = false;
    }
    //@end
    if (writes && index == winner) {
      selected[token * TOP_K + slot] = i32(expert);
    }
  }
  return subgroupShuffle(expert, winner);
}

fn expert_of(group: vec3<u32>, index: u32) -> u32 {
  if (group.y >= CHOSEN) {
    return EXPERTS + group.y - CHOSEN;
  }
  return choose(group.z, group.y + 1u, index, false);
}

// Keeps the choice of a token and its weights.
fn write_choice(token: u32, index: u32) {
  choose(token, CHOSEN, index, true);
  if (index < SHARED) {
    selected[token * TOP_K + CHOSEN + index] = i32(EXPERTS + index);
  }
  storageBarrier();
  write_weights(token, index);
}

// True for workgroups without rows; one of them for each token writes the choice.
fn is_idle(group: vec3<u32>, index: u32) -> bool {
  if (group.x < ROW_GROUPS) {
    return false;
  }
  if (group.y == 0u) {
    write_choice(group.z, index);
  }
  return true;
}
