//@fragment moe/algorithms/gate_up
//@needs INVOCATIONS TOP_K LANES GROUPS ROWS MATRICES INTERMEDIATE OUTPUTS_PER_QUAD QUADS PASSES
//@needs is_idle expert_of FIRST_WORD_$i END_WORD_$i UNROLL_$i w_up_fetch x_round x_chunk w_up_CHUNKS w_up_dot lane_sum input_factor_at act
//@needs expert_activation b_up_at
// Up and gate projections with the activation, slot by slot: a workgroup makes GROUPS · ROWS
// outputs of one (token, slot). LANES invocations share a row; a quad is four weight rows, and for
// a gated expert its rows alternate up, gate, up, gate. Grid: (rows, slots, tokens).

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let token = group.z;
  let pair = token * TOP_K + group.y;
  if (is_idle(group, index)) {
    return;
  }
  let expert = expert_of(group, index);
  let lane = index % LANES;
  let row = (group.x * GROUPS + index / LANES) * ROWS;
  let matrix = expert * (MATRICES * INTERMEDIATE);
  //@repeat q QUADS
  var sum_$q = vec4<f32>();
  //@repeat c 4
  const VALUE_$q_$c = $q * 4u + $c;
  let row_$q_$c = matrix + (VALUE_$q_$c % MATRICES) * INTERMEDIATE
    + min(row + VALUE_$q_$c / MATRICES, INTERMEDIATE - 1u);
  //@end
  //@end
  // UNROLL words of a row in flight; what is left of a row after that goes one by one.
  //@repeat z PASSES
  for (var base = FIRST_WORD_$z + lane; base < END_WORD_$z; base += LANES * UNROLL_$z) {
    //@repeat u UNROLL_$z
    let word_$u = base + $u * LANES;
    //@repeat q QUADS
    //@repeat c 4
    let w_$u_$q_$c = w_up_fetch(row_$q_$c, word_$u);
    //@end
    //@end
    //@end
    //@repeat u UNROLL_$z
    //@repeat p w_up_CHUNKS
    let x_$u_$p = x_round(x_chunk(token, word_$u * w_up_CHUNKS + $p), expert);
    //@repeat q QUADS
    sum_$q += vec4(
      w_up_dot(w_$u_$q_0, $p, x_$u_$p), w_up_dot(w_$u_$q_1, $p, x_$u_$p),
      w_up_dot(w_$u_$q_2, $p, x_$u_$p), w_up_dot(w_$u_$q_3, $p, x_$u_$p),
    );
    //@end
    //@end
    //@end
  }
  //@end
  // Lane i finishes output row i.
  var first = 0.0;
  var second = 0.0;
  //@repeat q QUADS
  let total_$q = lane_sum(sum_$q, index);
  //@repeat o OUTPUTS_PER_QUAD
  if (lane == $q * OUTPUTS_PER_QUAD + $o) {
    first = total_$q[$o * MATRICES];
    second = total_$q[$o * MATRICES + MATRICES - 1u];
  }
  //@end
  //@end
  let column = row + lane;
  if (lane < ROWS && column < INTERMEDIATE) {
    let factor = input_factor_at(pair);
    act[pair * INTERMEDIATE + column] = expert_activation(
      first * factor + b_up_at(matrix + column),
      second * factor + b_up_at(matrix + (MATRICES - 1u) * INTERMEDIATE + column),
    );
  }
}
