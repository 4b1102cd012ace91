//@fragment linear/post_norm_next
//@needs NEXT next_$n normed_$n
//@gives store_normed
// The norms of the sum: number `at` of each, which is number k of its row.
fn store_normed(at: u32, k: u32, x: f32) {
  //@repeat n NEXT
  normed_$n[at] = x * next_$n[k];
  //@end
}
