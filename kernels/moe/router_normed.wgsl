//@fragment moe/router_normed
//@needs xn x norm
//@gives write_normed
fn write_normed(at: u32, i: u32, scale: f32) {
  xn[at] = x[at] * scale * norm[i];
}
