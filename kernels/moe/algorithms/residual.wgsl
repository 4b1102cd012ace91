fn residual_element(i: u32) -> Element {
  return residual[i];
}
