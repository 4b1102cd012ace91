// Scales of NVFP4: an E4M3 byte for 16 columns of a row, times one f32 for every matrix of
// $NAME_MATRIX_ROWS rows.
fn $NAME_scale_of(row: u32, column: u32) -> f32 {
  let at = row * $NAME_SCALE_COLUMNS + column / 16u;
  let byte = ($NAME_scale[at >> 2u] >> ((at & 3u) * 8u)) & 255u;
  let half = ((byte & 0x7fu) << 7u) | ((byte & 0x80u) << 8u);
  let value = unpack2x16float(half).x * 256.0;
  let exact = bitcast<f32>(select(bitcast<u32>(value), 0x7fc00000u, (byte & 0x7fu) == 0x7fu));
  return exact * $NAME_scale_2[row / $NAME_MATRIX_ROWS];
}
