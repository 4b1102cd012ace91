// Router: scores of all experts for COLUMNS tokens, the TOP_K best of each with their weights, and
// with NORM the normed tokens.
//
// x [T, H] f32, w [E, H] in any plain format; selected [T, K] i32, routing_weights [T, K] f32,
// xn [T, H] f32
// Grid: share of the experts, tile of COLUMNS tokens.
//
// With few tokens each workgroup takes SHARE experts and the last one to arrive chooses; with many
// tokens, or few experts, a workgroup takes all experts of its tokens and SHARES is 1.
//
// Prelude: that of lib/gemv_multiply and lib/router_choose, SHARE, SHARES, TICKET, EPS.
// Fragments: both, lanes, `sum`, bias_at, store_logits and load_logits, store_normed.

var<workgroup> arrived: u32;

@compute @workgroup_size(THREADS)
fn main(lanes: Lanes, @builtin(workgroup_id) group: vec3<u32>) {
  let first_column = group.y * COLUMNS;
  let columns = step.x;
  let end = min(E, (group.x + 1u) * SHARE);
  for (var first = group.x * SHARE; first < end; first += ROWS) {
    w_multiply(first, end, first_column, columns, 0u, lanes);
    sum_meet(lanes);
    for (var i = lanes.index; i < COLUMNS * ROWS; i += THREADS) {
      let expert = first + i % ROWS;
      if (expert < end) {
        var logit = sum_get(i, lanes);
        if (NORM) {
          logit *= inverse_rms(i / ROWS, lanes);
        }
        logit += bias_at(expert);
        if (SHARES == 1u) {
          set_logit(i / ROWS, expert, logit);
        } else {
          store_partial((first_column + i / ROWS) * E + expert, logit);
        }
      }
    }
    if (NORM && first + ROWS >= end) {
      //@repeat c COLUMNS
      if (first_column + $c < columns) {
        store_normed(first_column + $c, inverse_rms($c, lanes), group.x, lanes);
      }
      //@end
    }
    workgroupBarrier();
  }
  if (SHARES > 1u) {
    if (!TICKET) {
      return;
    }
    storageBarrier();
    workgroupBarrier();
    if (lanes.index == 0u) {
      arrived = take_ticket(group.y, SHARES);
    }
    if (workgroupUniformLoad(&arrived) + 1u < SHARES) {
      return;
    }
    storageBarrier();
    load_logits(first_column, lanes);
  }
  for (var c = 0u; c < min(COLUMNS, columns - first_column); c++) {
    choose(c, first_column + c, lanes);
  }
}

fn inverse_rms(column: u32, lanes: Lanes) -> f32 {
  return inverseSqrt(sum_get(SQUARES + column, lanes) / f32(w_COLUMNS) + EPS);
}

// One share of a normed token; the shares of all workgroups make the whole.
fn store_normed(token: u32, scale: f32, share: u32, lanes: Lanes) {
  let size = (w_COLUMNS + SHARES - 1u) / SHARES;
  let end = min(w_COLUMNS, (share + 1u) * size);
  for (var i = share * size + lanes.index; i < end; i += THREADS) {
    write_normed(token * w_COLUMNS + i, i, scale);
  }
}
