//@fragment reduce/reduce_workgroup
//@needs $SLOTS THREADS $COMBINE Lanes
//@gives $NAME_put $NAME_meet $NAME_get
// Combines $SLOTS numbers over all invocations: every invocation puts its share of each, then
// $NAME_meet (barriers), then any invocation gets. Order is fixed, so results do not vary.
// $COMBINE combines two numbers; THREADS is a power of two.
var<workgroup> $NAME_shares: array<f32, $SLOTS * THREADS>;

fn $NAME_put(slot: u32, value: f32, lanes: Lanes) {
  $NAME_shares[slot * THREADS + lanes.index] = value;
}

fn $NAME_meet(lanes: Lanes) {
  workgroupBarrier();
  for (var half = THREADS / 2u; half > 0u; half >>= 1u) {
    if (lanes.index < half) {
      for (var slot = 0u; slot < $SLOTS; slot++) {
        let at = slot * THREADS + lanes.index;
        $NAME_shares[at] = $COMBINE($NAME_shares[at], $NAME_shares[at + half]);
      }
    }
    workgroupBarrier();
  }
}

fn $NAME_get(slot: u32, lanes: Lanes) -> f32 {
  return $NAME_shares[slot * THREADS];
}
