//@fragment attention/general/cells_f16_store
//@needs $NAME
//@gives $NAME_store
fn $NAME_store(word: u32, numbers: vec4<f32>) {
  $NAME[word] = pack2x16float(numbers.xy);
}
