//@fragment reduce/reduce_workgroup
//@needs $SLOTS INVOCATIONS $COMBINE Invocation
//@gives $NAME_share $NAME_join $NAME_result
// Combines $SLOTS numbers over all invocations: every invocation puts its share of each, then
// $NAME_join (barriers), then any invocation gets. Order is fixed, so results do not vary.
// $COMBINE combines two numbers; INVOCATIONS is a power of two.
var<workgroup> $NAME_shares: array<f32, $SLOTS * INVOCATIONS>;

fn $NAME_share(slot: u32, value: f32, invocation: Invocation) {
  $NAME_shares[slot * INVOCATIONS + invocation.index] = value;
}

fn $NAME_join(invocation: Invocation) {
  workgroupBarrier();
  for (var half = INVOCATIONS / 2u; half > 0u; half >>= 1u) {
    if (invocation.index < half) {
      for (var slot = 0u; slot < $SLOTS; slot++) {
        let at = slot * INVOCATIONS + invocation.index;
        $NAME_shares[at] = $COMBINE($NAME_shares[at], $NAME_shares[at + half]);
      }
    }
    workgroupBarrier();
  }
}

fn $NAME_result(slot: u32, invocation: Invocation) -> f32 {
  return $NAME_shares[slot * INVOCATIONS];
}
