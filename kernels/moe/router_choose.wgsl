//@fragment moe/router_choose
//@needs E COLUMNS TOP_K SIGMOID OVER_ALL RENORMALIZE INVOCATIONS SCALE Invocation sum_share
//@needs sum_join sum_result selected routing_weights score_of_logit weight_of_score
//@gives set_logit choose
// Chooses the experts of up to COLUMNS tokens from their logits in workgroup memory.
//
// An expert's rank is the number of experts before it: those with a larger score, and those with
// the same score and a smaller id. All ranks are counted at once, without a barrier between
// choices.
const QUADS = (E + 3u) / 4u;

var<workgroup> scores: array<vec4<f32>, COLUMNS * QUADS>;
var<workgroup> chosen: array<u32, COLUMNS * TOP_K>;
var<workgroup> best: array<f32, COLUMNS * TOP_K>;

// Keeps a logit of a token of this workgroup.
fn set_logit(column: u32, expert: u32, logit: f32) {
  scores[column * QUADS + expert / 4u][expert % 4u] = score_of_logit(logit);
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

fn weight_of(column: u32, slot: u32, all: f32) -> f32 {
  return weight_of_score(best[column * TOP_K + slot], best[column * TOP_K], all);
}

// Chooses for `count` neighbouring tokens after their logits are set.
fn choose(first_token: u32, count: u32, invocation: Invocation) {
  for (var i = invocation.index; i < count * E; i += INVOCATIONS) {
    let column = i / E;
    let expert = i % E;
    let score = score_of(column, expert);
    let rank = rank_of(column, expert, score);
    if (rank < TOP_K) {
      chosen[column * TOP_K + rank] = expert;
      best[column * TOP_K + rank] = score;
    }
  }
  workgroupBarrier();
  if (!SIGMOID && OVER_ALL && !RENORMALIZE) {
    //@repeat c COLUMNS
    {
      var share = 0.0;
      if ($c < count) {
        for (var expert = invocation.index; expert < E; expert += INVOCATIONS) {
          share += exp(score_of($c, expert) - best[$c * TOP_K]);
        }
      }
      sum_share($c, share, invocation);
    }
    //@end
    sum_join(invocation);
  }
  for (var i = invocation.index; i < count * TOP_K; i += INVOCATIONS) {
    let column = i / TOP_K;
    var all = 1.0;
    if (!SIGMOID && OVER_ALL && !RENORMALIZE) {
      all = sum_result(column, invocation);
    }
    var total = 1.0;
    if (RENORMALIZE || (!SIGMOID && !OVER_ALL)) {
      total = 0.0;
      for (var slot = 0u; slot < TOP_K; slot++) {
        total += weight_of(column, slot, all);
      }
    }
    selected[first_token * TOP_K + i] = i32(chosen[i]);
    routing_weights[first_token * TOP_K + i] = weight_of(column, i % TOP_K, all) / total * SCALE;
  }
}
