//@fragment moe/router_choose_general
//@needs E EXPERTS GROUPS TOP_K SHARED COLUMNS LOWEST OVER_ALL SIGMOID TWO_BEST KEPT JITTER
//@needs INVOCATIONS MIXER SCALE SHARED_GATE Invocation correction_at expert_scale_at selected
//@needs routing_weights ranked_logit scaled_logit sigmoid softmax_terms score_of_logit weight_of total_of
//@gives set_logit choose logits_of chosen_score
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

fn logits_of(column: u32, first: u32) -> vec4<f32> {
  return scores[column * QUADS + first / 4u];
}

fn chosen_score(column: u32, slot: u32) -> f32 {
  return best[column * TOP_K + slot];
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
    // A softmax of an infinite logit is NaN, which has no rank: every expert would be the first.
    let score = score_of_logit(score_of(column, expert), terms[column]) + correction_at(expert);
    choices[column * QUADS + expert / 4u][expert % 4u] = ranked_logit(score);
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
      best[column * TOP_K + rank] = score_of_logit(score_of(column, expert), terms[column]);
    }
  }
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
      weight = weight_of(column, slot) / total_of(column) * SCALE * expert_scale_at(expert);
    } else if (SHARED_GATE) {
      weight = sigmoid(score_of(column, EXPERTS));
    }
    selected[first_token * SLOTS + i] = i32(expert);
    routing_weights[first_token * SLOTS + i] = weight;
  }
}
