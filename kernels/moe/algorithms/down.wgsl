//@fragment moe/algorithms/down
//@needs GROUPS QUADS WIDTH INVOCATIONS LANES ROWS HIDDEN TOP_K FIRST_EXPERT END_EXPERT PASSES selected
//@needs FIRST_WORD_$i END_WORD_$i UNROLL_$i ENDS_$i w_down_fetch act_round act_chunk w_down_CHUNKS
//@needs w_down_place w_down_dot output_factor_at b_down_at lane_sum residual_at y
// Down projection that owns output rows: a workgroup makes ROWS outputs of one token from all its
// slots, multiplies the routing weights and adds bias and residual. Group g of LANES invocations
// takes the slots g, g + GROUPS, …; sums are joined once, in a fixed order. Grid: (rows, tokens).

var<workgroup> group_sums: array<vec4<f32>, GROUPS * QUADS>;

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let token = group.y;
  let lane = index % LANES;
  let lane_group = index / LANES;
  let row = group.x * ROWS;
  //@repeat q QUADS
  var sum_$q = vec4<f32>();
  //@repeat c WIDTH
  let row_$q_$c = min(row + $q * 4u + $c, HIDDEN - 1u);
  //@end
  //@end
  for (var slot = lane_group; slot < TOP_K; slot += GROUPS) {
    let pair = token * TOP_K + slot;
    let expert = u32(selected[pair]);
    if (expert < FIRST_EXPERT || expert >= END_EXPERT) {
      continue;
    }
    let matrix = expert * HIDDEN;
    //@repeat q QUADS
    //@repeat c 4
    var product_$q_$c = 0.0;
    //@end
    //@end
    //@repeat z PASSES
    for (var base = FIRST_WORD_$z + lane; base < END_WORD_$z; base += LANES * UNROLL_$z) {
      //@repeat u UNROLL_$z
      let word_$u = base + $u * LANES;
      let at_$u = select(word_$u, min(word_$u, END_WORD_$z - 1u), ENDS_$z);
      //@repeat q QUADS
      //@repeat c WIDTH
      let w_$u_$q_$c = w_down_fetch(matrix + row_$q_$c, at_$u);
      //@end
      //@end
      //@end
      //@repeat u UNROLL_$z
      if (!ENDS_$z || word_$u < END_WORD_$z) {
        //@repeat p w_down_CHUNKS
        let x_$p = act_round(act_chunk(pair, w_down_place(word_$u, $p)), expert);
        //@repeat q QUADS
        //@repeat c WIDTH
        product_$q_$c += w_down_dot(w_$u_$q_$c, $p, x_$p);
        //@end
        //@end
        //@end
      }
      //@end
    }
    //@end
    let factor = output_factor_at(pair);
    //@repeat q QUADS
    if (lane == 0u) {
      //@repeat c WIDTH
      product_$q_$c += b_down_at(matrix + row_$q_$c);
      //@end
    }
    sum_$q += factor * vec4(product_$q_0, product_$q_1, product_$q_2, product_$q_3);
    //@end
  }
  //@repeat q QUADS
  let total_$q = lane_sum(sum_$q, index);
  if (lane == 0u) {
    group_sums[lane_group * QUADS + $q] = total_$q;
  }
  //@end
  workgroupBarrier();
  if (index < ROWS && row + index < HIDDEN) {
    let at = token * HIDDEN + row + index;
    var total = residual_at(at);
    for (var g = 0u; g < GROUPS; g++) {
      total += group_sums[g * QUADS + index / 4u][index % 4u];
    }
    y[at] = total;
  }
}
