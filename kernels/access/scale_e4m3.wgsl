//@fragment access/scale_e4m3
//@needs $NAME_SCALE_COLUMNS $NAME_MATRIX_ROWS $NAME_scale_2 $NAME_scale
//@gives $NAME_Scale $NAME_scale_fetch $NAME_scale_value
// Scales of NVFP4: an E4M3 byte for 16 columns of a row, times one f32 for every matrix of
// $NAME_MATRIX_ROWS rows.
struct $NAME_Scale { bytes: u32, shift: u32, of_matrix: f32 }

fn $NAME_scale_fetch(row: u32, column: u32) -> $NAME_Scale {
  let at = row * $NAME_SCALE_COLUMNS + column / 16u;
  let of_matrix = $NAME_scale_2[row / $NAME_MATRIX_ROWS];
  return $NAME_Scale($NAME_scale[at >> 2u], (at & 3u) * 8u, of_matrix);
}

fn $NAME_scale_value(scale: $NAME_Scale) -> f32 {
  let byte = (scale.bytes >> scale.shift) & 255u;
  let half = ((byte & 0x7fu) << 7u) | ((byte & 0x80u) << 8u);
  let value = unpack2x16float(half).x * 256.0;
  let exact = bitcast<f32>(select(bitcast<u32>(value), 0x7fc00000u, (byte & 0x7fu) == 0x7fu));
  return exact * scale.of_matrix;
}
