//@fragment access/codes_int4
//@needs Chunk
//@gives $NAME_codes $NAME_UNIT
// Eight int4 codes of a u32, low nibble first. A nibble n in the mantissa of 0x6400 is the f16 1024 + n; the code's zero is 8.
const $NAME_UNIT = 1.0;

fn $NAME_codes(word: u32) -> Chunk {
  let a = unpack2x16float((word & 0x000f000fu) | 0x64006400u);
  let b = unpack2x16float(((word >> 4u) & 0x000f000fu) | 0x64006400u);
  let c = unpack2x16float(((word >> 8u) & 0x000f000fu) | 0x64006400u);
  let d = unpack2x16float(((word >> 12u) & 0x000f000fu) | 0x64006400u);
  let zero = vec4(1032.0);
  return Chunk(vec4(a.x, b.x, c.x, d.x) - zero, vec4(a.y, b.y, c.y, d.y) - zero);
}
