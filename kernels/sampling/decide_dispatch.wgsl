//@fragment sampling/decide_dispatch
//@needs INVOCATIONS logits_rows decide draws StepToken positions
// The second dispatch of sampling where workgroups cannot hand over by ticket: one a row.

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let row = group.x;
  let token = u32(logits_rows[row]);
  decide(row, draws[row], StepToken(token, u32(positions[token])), index);
}
