//@fragment linear/norm_residual
//@needs x residual total
//@gives load_input store_total
fn load_input(i: u32) -> f32 {
  return x[i] + residual[i];
}

fn store_total(i: u32, value: f32) {
  total[i] = value;
}
