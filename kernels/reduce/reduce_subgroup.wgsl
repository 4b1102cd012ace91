//@fragment reduce/reduce_subgroup
//@needs $SLOTS MAX_SUBGROUPS $SUBGROUP $COMBINE Lanes
//@gives $NAME_put $NAME_meet $NAME_get
// Combines $SLOTS numbers over all invocations: every invocation puts its share of each, then
// $NAME_meet (a barrier), then any invocation gets. Order is fixed, so results do not vary.
// $SUBGROUP is subgroupAdd or subgroupMax, $COMBINE the same for two numbers.
var<workgroup> $NAME_shares: array<f32, $SLOTS * MAX_SUBGROUPS>;

fn $NAME_put(slot: u32, value: f32, lanes: Lanes) {
  let share = $SUBGROUP(value);
  if (lanes.invocation == 0u) {
    $NAME_shares[lanes.subgroup * $SLOTS + slot] = share;
  }
}

fn $NAME_meet(lanes: Lanes) {
  workgroupBarrier();
}

fn $NAME_get(slot: u32, lanes: Lanes) -> f32 {
  var result = $NAME_shares[slot];
  for (var s = 1u; s < lanes.subgroups; s++) {
    result = $COMBINE(result, $NAME_shares[s * $SLOTS + slot]);
  }
  return result;
}
