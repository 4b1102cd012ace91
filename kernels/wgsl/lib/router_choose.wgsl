// Chooses the experts of a token from its logits in shared memory.
//
// An expert's rank is the number of experts before it: those with a larger score, and those with
// the same score and a smaller id. All ranks are counted at once, without a barrier between
// choices. Prelude: THREADS, E, TOP_K, SIGMOID, OVER_ALL, RENORMALIZE, SCALE, LOWEST, COLUMNS.
const QUADS = (E + 3u) / 4u;

var<workgroup> scores: array<vec4<f32>, COLUMNS * QUADS>;
var<workgroup> chosen: array<u32, TOP_K>;
var<workgroup> best: array<f32, TOP_K>;

// Keeps a logit of a token of this workgroup.
fn set_logit(column: u32, expert: u32, logit: f32) {
  // What is no number ranks last.
  var score = select(LOWEST, logit, logit == logit);
  if (SIGMOID) {
    score = 1.0 / (1.0 + exp(-score));
  }
  scores[column * QUADS + expert / 4u][expert % 4u] = score;
}

fn score_of(column: u32, expert: u32) -> f32 {
  return scores[column * QUADS + expert / 4u][expert % 4u];
}

fn rank_of(column: u32, expert: u32, score: f32) -> u32 {
  var rank = vec4<u32>();
  for (var quad = 0u; quad < QUADS; quad++) {
    let other = scores[column * QUADS + quad];
    let ids = vec4(quad * 4u) + vec4(0u, 1u, 2u, 3u);
    let before = (other > vec4(score)) | ((other == vec4(score)) & (ids < vec4(expert)));
    rank += select(vec4(0u), vec4(1u), before & (ids < vec4(E)));
  }
  return rank.x + rank.y + rank.z + rank.w;
}

fn weight_of(slot: u32, all: f32) -> f32 {
  if (SIGMOID) {
    return best[slot];
  }
  return exp(best[slot] - best[0]) / select(1.0, all, OVER_ALL && !RENORMALIZE);
}

// Chooses for one token after its logits are set; ends with a barrier.
fn choose(column: u32, token: u32, lanes: Lanes) {
  for (var expert = lanes.index; expert < E; expert += THREADS) {
    let score = score_of(column, expert);
    let rank = rank_of(column, expert, score);
    if (rank < TOP_K) {
      chosen[rank] = expert;
      best[rank] = score;
    }
  }
  workgroupBarrier();
  var all = 1.0;
  if (!SIGMOID && OVER_ALL && !RENORMALIZE) {
    var share = 0.0;
    for (var expert = lanes.index; expert < E; expert += THREADS) {
      share += exp(score_of(column, expert) - best[0]);
    }
    sum_put(0u, share, lanes);
    sum_meet(lanes);
    all = sum_get(0u, lanes);
  }
  for (var slot = lanes.index; slot < TOP_K; slot += THREADS) {
    var total = 1.0;
    if (RENORMALIZE || (!SIGMOID && !OVER_ALL)) {
      total = 0.0;
      for (var i = 0u; i < TOP_K; i++) {
        total += weight_of(i, all);
      }
    }
    selected[token * TOP_K + slot] = i32(chosen[slot]);
    routing_weights[token * TOP_K + slot] = weight_of(slot, all) / total * SCALE;
  }
  workgroupBarrier();
}
