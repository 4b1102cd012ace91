//@fragment linear/norm_residual_absent
//@needs x
//@gives load_input store_total
fn load_input(i: u32) -> f32 {
  return x[i];
}

fn store_total(i: u32, value: f32) {
}
