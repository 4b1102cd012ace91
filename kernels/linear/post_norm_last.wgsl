//@fragment linear/post_norm_last
//@gives store_normed
// Nobody wants a norm of the sum.
fn store_normed(at: u32, k: u32, x: f32) {
}
