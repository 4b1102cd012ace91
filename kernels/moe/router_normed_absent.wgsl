//@fragment moe/router_normed_absent
//@gives write_normed
fn write_normed(at: u32, i: u32, scale: f32) {
}
