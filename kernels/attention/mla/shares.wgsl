//@fragment attention/mla/shares
//@needs LEAST_SHARE SPLITS
//@gives keys_of_share used_splits
// How the keys of a context are shared out: to SPLITS workgroups, LEAST_SHARE keys or a multiple each.

fn keys_of_share(context: u32) -> u32 {
  return (context + LEAST_SHARE * SPLITS - 1u) / (LEAST_SHARE * SPLITS) * LEAST_SHARE;
}

// Shares that are not empty.
fn used_splits(context: u32) -> u32 {
  let keys = keys_of_share(context);
  return (context + keys - 1u) / keys;
}
