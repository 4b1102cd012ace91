//@fragment attention/mla/absorbed_only
//@gives is_expanded store_query
// Every sequence keeps the absorbed form.
fn is_expanded(token: u32) -> bool {
  return false;
}

fn store_query(token: u32, head: u32, index: u32) {
}
