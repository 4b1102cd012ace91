//@fragment moe/router_choose_general
//@needs E EXPERTS GROUPS TOP_K SHARED COLUMNS LOWEST OVER_ALL SIGMOID TWO_BEST KEPT
//@needs JITTER INVOCATIONS MIXER RENORMALIZE SUM_OFFSET SUM_FLOOR SCALE SHARED_GATE Invocation
//@needs NORM_POWER correction_at expert_scale_at selected routing_weights scaled_logit sigmoid
//@gives set_logit choose
// Chooses the experts of up to COLUMNS tokens from their logits in workgroup memory, with everything that
// router_choose does not know: corrections, groups, scores of the chosen logits alone, bounds of the
// renormalising sum, factors of single experts, the sparse mixer, and slots that every token has.
const QUADS = (E + 3u) / 4u;
const GROUP_SIZE = EXPERTS / GROUPS;
const SLOTS = TOP_K + SHARED;

// Logits first, then scores; `choices` is what experts are ranked by.
var<workgroup> scores: array<vec4<f32>, COLUMNS * QUADS>;
var<workgroup> choices: array<vec4<f32>, COLUMNS * QUADS>;
var<workgroup> groups: array<f32, COLUMNS * GROUPS>;
var<workgroup> terms: array<vec2<f32>, COLUMNS>;
var<workgroup> chosen: array<u32, COLUMNS * TOP_K>;
var<workgroup> best: array<f32, COLUMNS * TOP_K>;

// Keeps a logit of a token of this workgroup.
fn set_logit(column: u32, expert: u32, logit: f32) {
  scores[column * QUADS + expert / 4u][expert % 4u] = scaled_logit(logit);
}

fn score_of(column: u32, expert: u32) -> f32 {
  return scores[column * QUADS + expert / 4u][expert % 4u];
}

fn choice_of(column: u32, expert: u32) -> f32 {
  return choices[column * QUADS + expert / 4u][expert % 4u];
}

// The largest logit of a token, and the sum of the exponentials below it.
fn softmax_terms(column: u32) -> vec2<f32> {
  var top = vec4(LOWEST);
  for (var quad = 0u; quad < QUADS; quad++) {
    let ids = vec4(quad * 4u) + vec4(0u, 1u, 2u, 3u);
    let own = scores[column * QUADS + quad];
    top = max(top, select(vec4(LOWEST), own, ids < vec4(EXPERTS)));
  }
  let largest = max(max(top.x, top.y), max(top.z, top.w));
  var total = vec4(0.0);
  for (var quad = 0u; quad < QUADS; quad++) {
    let ids = vec4(quad * 4u) + vec4(0u, 1u, 2u, 3u);
    let own = exp(scores[column * QUADS + quad] - vec4(largest));
    total += select(vec4(0.0), own, ids < vec4(EXPERTS));
  }
  return vec2(largest, total.x + total.y + total.z + total.w);
}

fn score_for(column: u32, logit: f32) -> f32 {
  if (!OVER_ALL) {
    return logit;
  }
  if (SIGMOID) {
    return sigmoid(logit);
  }
  return exp(logit - terms[column].x) / terms[column].y;
}

// What a group of experts is worth: its best choice, or its two best together.
fn group_worth(column: u32, group: u32) -> f32 {
  var first = LOWEST;
  var second = LOWEST;
  for (var i = 0u; i < GROUP_SIZE; i++) {
    let value = choice_of(column, group * GROUP_SIZE + i);
    second = max(second, min(first, value));
    first = max(first, value);
  }
  if (TWO_BEST && GROUP_SIZE > 1u) {
    return first + second;
  }
  return first;
}

fn is_kept(column: u32, group: u32) -> bool {
  let own = groups[column * GROUPS + group];
  var before = 0u;
  for (var other = 0u; other < GROUPS; other++) {
    let worth = groups[column * GROUPS + other];
    before += select(0u, 1u, worth > own || (worth == own && other < group));
  }
  return before < KEPT;
}

fn rank_of(column: u32, expert: u32, choice: f32) -> u32 {
  var rank = vec4<u32>();
  for (var quad = 0u; quad < QUADS; quad++) {
    let other = choices[column * QUADS + quad];
    let ids = vec4(quad * 4u) + vec4(0u, 1u, 2u, 3u);
    let before = (other > vec4(choice)) | ((other == vec4(choice)) & (ids < vec4(expert)));
    rank += select(vec4(0u), vec4(1u), before & (ids < vec4(EXPERTS)));
  }
  return rank.x + rank.y + rank.z + rank.w;
}

// Each time the largest logit that is left, weighed among those near it.
fn mix_sparsely(column: u32) {
  for (var slot = 0u; slot < TOP_K; slot++) {
    var top = LOWEST;
    var expert = EXPERTS;
    for (var i = 0u; i < EXPERTS; i++) {
      let logit = score_of(column, i);
      if (!is_taken(column, i, slot) && (logit > top || expert == EXPERTS)) {
        top = logit;
        expert = i;
      }
    }
    var total = 0.0;
    for (var i = 0u; i < EXPERTS; i++) {
      let logit = score_of(column, i);
      let near = (top - logit) / max(abs(logit), top) <= 2.0 * JITTER;
      total += select(0.0, exp(logit - top), near && !is_taken(column, i, slot));
    }
    chosen[column * TOP_K + slot] = expert;
    best[column * TOP_K + slot] = 1.0 / total;
  }
}

fn is_taken(column: u32, expert: u32, slots: u32) -> bool {
  var taken = false;
  for (var slot = 0u; slot < slots; slot++) {
    taken |= chosen[column * TOP_K + slot] == expert;
  }
  return taken;
}

fn rank_experts(count: u32, invocation: Invocation) {
  if (OVER_ALL && !SIGMOID) {
    if (invocation.index < count) {
      terms[invocation.index] = softmax_terms(invocation.index);
    }
    workgroupBarrier();
  }
  for (var i = invocation.index; i < count * EXPERTS; i += INVOCATIONS) {
    let column = i / EXPERTS;
    let expert = i % EXPERTS;
    choices[column * QUADS + expert / 4u][expert % 4u] =
      score_for(column, score_of(column, expert)) + correction_at(expert);
  }
  workgroupBarrier();
  if (GROUPS > 1u) {
    for (var i = invocation.index; i < count * GROUPS; i += INVOCATIONS) {
      groups[i] = group_worth(i / GROUPS, i % GROUPS);
    }
    workgroupBarrier();
    for (var i = invocation.index; i < count * EXPERTS; i += INVOCATIONS) {
      let column = i / EXPERTS;
      let expert = i % EXPERTS;
      if (!is_kept(column, expert / GROUP_SIZE)) {
        choices[column * QUADS + expert / 4u][expert % 4u] = LOWEST;
      }
    }
    workgroupBarrier();
  }
  for (var i = invocation.index; i < count * EXPERTS; i += INVOCATIONS) {
    let column = i / EXPERTS;
    let expert = i % EXPERTS;
    let rank = rank_of(column, expert, choice_of(column, expert));
    if (rank < TOP_K) {
      chosen[column * TOP_K + rank] = expert;
      best[column * TOP_K + rank] = score_for(column, score_of(column, expert));
    }
  }
}

// The weight of a chosen slot before the renormalisation.
fn weight_of(column: u32, slot: u32) -> f32 {
  let own = best[column * TOP_K + slot];
  if (OVER_ALL || MIXER) {
    return own;
  }
  if (SIGMOID) {
    return sigmoid(own);
  }
  var top = LOWEST;
  for (var other = 0u; other < TOP_K; other++) {
    top = max(top, best[column * TOP_K + other]);
  }
  var total = 0.0;
  for (var other = 0u; other < TOP_K; other++) {
    total += exp(best[column * TOP_K + other] - top);
  }
  return exp(own - top) / total;
}

// Chooses for `count` neighbouring tokens after their logits are set.
fn choose(first_token: u32, count: u32, invocation: Invocation) {
  if (MIXER) {
    if (invocation.index < count) {
      mix_sparsely(invocation.index);
    }
  } else {
    rank_experts(count, invocation);
  }
  workgroupBarrier();
  for (var i = invocation.index; i < count * SLOTS; i += INVOCATIONS) {
    let column = i / SLOTS;
    let slot = i % SLOTS;
    var expert = EXPERTS + slot - TOP_K;
    var weight = 1.0;
    if (slot < TOP_K) {
      expert = chosen[column * TOP_K + slot];
      var total = 1.0;
      if (RENORMALIZE) {
        total = 0.0;
        for (var other = 0u; other < TOP_K; other++) {
          let term = weight_of(column, other);
          total += select(pow(term, NORM_POWER), term, NORM_POWER == 1.0);
        }
        total = select(pow(total, 1.0 / NORM_POWER), total, NORM_POWER == 1.0);
        total = max(total + SUM_OFFSET, SUM_FLOOR);
      }
      weight = weight_of(column, slot) / total * SCALE * expert_scale_at(expert);
    } else if (SHARED_GATE) {
      weight = sigmoid(score_of(column, EXPERTS));
    }
    selected[first_token * SLOTS + i] = i32(expert);
    routing_weights[first_token * SLOTS + i] = weight;
  }
}
