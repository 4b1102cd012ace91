//@fragment moe/router
//@needs INVOCATIONS COLUMNS E SHARE ROWS NORM SHARES SQUARES EPS NORMED_COLUMNS Invocation
//@needs step w_multiply sum_join sum_result bias_at put_logit finish_tile w_COLUMNS write_normed
// Router: scores of all experts for COLUMNS tokens, the TOP_K best of each with their weights (or
// the logits alone, where the experts choose), and with NORM the normed tokens.
//
// x [T, H] f32, w [E, H] in any plain format; selected [T, K] i32, routing_weights [T, K] f32,
// xn [T, H] f32
// Grid: share of the experts, tile of COLUMNS tokens.
//
// Each workgroup takes SHARE experts, ROWS at a time; with very many tokens, or few experts, a
// workgroup takes all experts of its tokens and SHARES is 1.
//
// NORMED_COLUMNS are the vectors or numbers of a normed token, 0 when nobody wants it.

@compute @workgroup_size(INVOCATIONS)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3<u32>) {
  let first_column = group.y * COLUMNS;
  let columns = step.x;
  let end = min(E, (group.x + 1u) * SHARE);
  for (var first = group.x * SHARE; first < end; first += ROWS) {
    w_multiply(first, end, first_column, columns, 0u, invocation);
    sum_join(invocation);
    for (var i = invocation.index; i < COLUMNS * ROWS; i += INVOCATIONS) {
      let expert = first + i % ROWS;
      if (expert < end) {
        var logit = sum_result(i, invocation);
        if (NORM) {
          logit *= inverse_rms(i / ROWS, invocation);
        }
        logit += bias_at(expert);
        put_logit(first_column, i / ROWS, expert, logit);
      }
    }
    if (NORM && first + ROWS >= end) {
      store_normed(first_column, min(COLUMNS, columns - first_column), group.x, invocation);
    }
    workgroupBarrier();
  }
  finish_tile(group.y, first_column, min(COLUMNS, columns - first_column), invocation);
}

fn inverse_rms(column: u32, invocation: Invocation) -> f32 {
  return inverseSqrt(sum_result(SQUARES + column, invocation) / f32(w_COLUMNS) + EPS);
}

// One share of the normed tokens; the shares of all workgroups make the whole.
const NORMED_SHARE = max(1u, (NORMED_COLUMNS + SHARES - 1u) / SHARES);

fn store_normed(first_column: u32, count: u32, share: u32, invocation: Invocation) {
  for (var i = invocation.index; i < count * NORMED_SHARE; i += INVOCATIONS) {
    let column = i / NORMED_SHARE;
    let at = share * NORMED_SHARE + i % NORMED_SHARE;
    if (at < NORMED_COLUMNS) {
      write_normed((first_column + column) * NORMED_COLUMNS + at, at, inverse_rms(column, invocation));
    }
  }
}
