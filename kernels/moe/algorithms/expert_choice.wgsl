//@fragment moe/algorithms/expert_choice
//@needs E TOP_K LOWEST SIGMOID OVER_ALL RENORMALIZE SCALE WIDTH SCORES ROW_GROUPS
//@needs ROUTER_INVOCATIONS logits selected routing_weights
//@gives is_idle expert_of
// The choice of experts, made by the workgroups that need it: each finds the expert of its own slot
// from the logits of its token. One workgroup more for each token writes ids and weights for those
// who come after.
//
// WIDTH neighbouring invocations hold SCORES neighbouring experts each; in every round the best
// that is left is taken out, of equal ones that with the smallest id. A subgroup of more than WIDTH
// invocations holds them several times, which changes nothing.

fn score_at(token: u32, expert: u32) -> f32 {
  let logit = logits[token * E + expert];
  // What is no number ranks last.
  var score = select(LOWEST, logit, logit == logit);
  if (SIGMOID) {
    score = 1.0 / (1.0 + exp(-score));
  }
  return score;
}

// The order of scores as an order of integers, all above 0; both zeros are equal.
fn key_of(score: f32) -> u32 {
  let bits = bitcast<u32>(select(score, 0.0, score == 0.0));
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn score_of(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

// The expert that comes last when so many are chosen. `writes` keeps all of them, and their weights.
fn choose(token: u32, slots: u32, index: u32, writes: bool) -> u32 {
  let lane = index % WIDTH;
  let first = lane * SCORES;
  //@repeat s SCORES
  var key_$s = 0u;
  if (first + $s < E) {
    key_$s = key_of(score_at(token, first + $s));
  }
  //@end
  var expert = 0u;
  var winner = 0u;
  var top = 0.0;
  var total = 0.0;
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
    if (writes) {
      let score = score_of(best);
      top = select(top, score, slot == 0u);
      let term = weight_term(score, top);
      total += term;
      let id = subgroupShuffle(expert, winner);
      if (index == slot % WIDTH) {
        selected[token * TOP_K + slot] = i32(id);
        routing_weights[token * TOP_K + slot] = term;
      }
    }
  }
  if (writes) {
    finish_weights(token, index, top, total);
  }
  return subgroupShuffle(expert, winner);
}

fn weight_term(score: f32, top: f32) -> f32 {
  if (SIGMOID) {
    return score;
  }
  return exp(score - top);
}

// Every invocation finishes the weights that it wrote.
fn finish_weights(token: u32, index: u32, top: f32, total: f32) {
  var divisor = 1.0;
  if (RENORMALIZE || (!SIGMOID && !OVER_ALL)) {
    divisor = total;
  } else if (!SIGMOID) {
    divisor = sum_of_all(token, index % WIDTH, top);
  }
  if (index < WIDTH) {
    for (var slot = index; slot < TOP_K; slot += WIDTH) {
      routing_weights[token * TOP_K + slot] = routing_weights[token * TOP_K + slot] / divisor * SCALE;
    }
  }
}

// Σ exp(score - top) over all experts, in the order in which a router of ROUTER_INVOCATIONS adds.
fn sum_of_all(token: u32, lane: u32, top: f32) -> f32 {
  let is_copy = subgroupExclusiveAdd(1u) >= WIDTH;
  var total = 0.0;
  for (var part = 0u; part < ROUTER_INVOCATIONS; part += WIDTH) {
    var share = 0.0;
    for (var expert = part + lane; expert < E; expert += ROUTER_INVOCATIONS) {
      share += exp(score_at(token, expert) - top);
    }
    total += subgroupAdd(select(share, 0.0, is_copy));
  }
  return total;
}

fn expert_of(group: vec3<u32>, index: u32) -> u32 {
  return choose(group.z, group.y + 1u, index, false);
}

// True for workgroups without rows; one of them for each token writes the choice.
fn is_idle(group: vec3<u32>, index: u32) -> bool {
  if (group.x < ROW_GROUPS) {
    return false;
  }
  if (group.y == 0u) {
    choose(group.z, TOP_K, index, true);
  }
  return true;
}
