//@fragment access/codes_uint4
//@needs Chunk
//@gives $NAME_codes $NAME_UNIT
// Eight codes from 0 to 15 of a u32, low nibble first. A nibble n in the mantissa of 0x6400 is the
// f16 1024 + n.
const $NAME_UNIT = 1.0;

fn $NAME_codes(word: u32) -> Chunk {
  let a = unpack2x16float((word & 0x000f000fu) | 0x64006400u);
  let b = unpack2x16float(((word >> 4u) & 0x000f000fu) | 0x64006400u);
  let c = unpack2x16float(((word >> 8u) & 0x000f000fu) | 0x64006400u);
  let d = unpack2x16float(((word >> 12u) & 0x000f000fu) | 0x64006400u);
  let base = vec4(1024.0);
  return Chunk(vec4(a.x, b.x, c.x, d.x) - base, vec4(a.y, b.y, c.y, d.y) - base);
}
