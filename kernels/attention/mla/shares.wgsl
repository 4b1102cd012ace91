//@fragment attention/mla/shares
//@needs INVOCATIONS_KEYS SPLITS
//@gives tiles_of_share used_splits
// How the keys of a context are shared out: whole tiles of INVOCATIONS_KEYS, to SPLITS workgroups.

fn tiles_of_share(context: u32) -> u32 {
  return (context + INVOCATIONS_KEYS * SPLITS - 1u) / (INVOCATIONS_KEYS * SPLITS);
}

// Shares that are not empty.
fn used_splits(context: u32) -> u32 {
  let keys = tiles_of_share(context) * INVOCATIONS_KEYS;
  return (context + keys - 1u) / keys;
}
