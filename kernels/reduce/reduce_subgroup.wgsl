//@fragment reduce/reduce_subgroup
//@needs $SLOTS MAX_SUBGROUPS $SUBGROUP $COMBINE Invocation
//@gives $NAME_share $NAME_join $NAME_result
// Combines $SLOTS numbers over all invocations: every invocation puts its share of each, then
// $NAME_join (a barrier), then any invocation gets. Order is fixed, so results do not vary.
// $SUBGROUP is subgroupAdd or subgroupMax, $COMBINE the same for two numbers.
var<workgroup> $NAME_shares: array<f32, $SLOTS * MAX_SUBGROUPS>;

fn $NAME_share(slot: u32, value: f32, invocation: Invocation) {
  let share = $SUBGROUP(value);
  if (invocation.in_subgroup == 0u) {
    $NAME_shares[invocation.subgroup * $SLOTS + slot] = share;
  }
}

fn $NAME_join(invocation: Invocation) {
  workgroupBarrier();
}

fn $NAME_result(slot: u32, invocation: Invocation) -> f32 {
  var result = $NAME_shares[slot];
  for (var s = 1u; s < invocation.subgroups; s++) {
    result = $COMBINE(result, $NAME_shares[s * $SLOTS + slot]);
  }
  return result;
}
