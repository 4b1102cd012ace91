//@fragment attention/general/cells_f32_store
//@needs $NAME
//@gives $NAME_store
fn $NAME_store(word: u32, numbers: vec4<f32>) {
  $NAME[word] = numbers.x;
}
