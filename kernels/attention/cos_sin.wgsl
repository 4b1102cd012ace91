//@fragment attention/cos_sin
//@gives cos_sin
// Cosine and sine of any angle below 2^25, to about 1e-7. The built-in functions promise 2^-11, and
// only between -π and π; positions of a long context are far outside.
//
// The angle's mantissa times 2/π, in integers: the product's bits 30 and 31 are the quadrant, those
// below are where in it. (Floating-point reductions by parts of π/2 do not survive compilers that
// reassociate.) Then the polynomials of Cephes' sinf and cosf.
const TWO_OVER_PI_HIGH = 0xa2f9836eu;
const TWO_OVER_PI_LOW = 0x4e441529u;

fn cos_sin(angle: f32) -> vec2<f32> {
  let bits = bitcast<u32>(angle) & 0x7fffffffu;
  let mantissa = (bits & 0x7fffffu) | 0x800000u;
  // The angle is mantissa · 2^(exponent - 150); the product is wanted in units of 2^-30.
  let shift = i32(bits >> 23u) - 120i;
  let left = u32(clamp(shift, 1i, 31i));
  let right = u32(clamp(-shift, 0i, 31i));
  let whole = select(0u, TWO_OVER_PI_HIGH >> (32u - left), shift > 0i);
  let part = select(
    TWO_OVER_PI_HIGH >> right,
    (TWO_OVER_PI_HIGH << left) | (TWO_OVER_PI_LOW >> (32u - left)),
    shift > 0i,
  );
  // The upper word of mantissa · part, by halves.
  let cross = (mantissa & 0xffffu) * (part >> 16u);
  let middle = (((mantissa & 0xffffu) * (part & 0xffffu)) >> 16u) + (cross & 0xffffu) +
    (mantissa >> 16u) * (part & 0xffffu);
  let upper = (mantissa >> 16u) * (part >> 16u) + (cross >> 16u) + (middle >> 16u);
  let turned = mantissa * whole + upper;
  let near = bits < 0x3f490fdbu; // below π/4, where nothing is to be reduced
  let quadrant = select((turned + 0x20000000u) >> 30u, 0u, near);
  let rest = f32(bitcast<i32>(turned - (quadrant << 30u))) * 1.4629181e-9f;
  let r = select(rest, bitcast<f32>(bits), near);

  let s = r * r;
  let sine = r + r * s * fma(s, fma(s, -1.9515296e-4f, 8.3321609e-3f), -1.6666655e-1f);
  let cosine = 1.0 - 0.5 * s +
    s * s * fma(s, fma(s, 2.4433157e-5f, -1.3887316e-3f), 4.1666646e-2f);
  let turned_by = select(vec2(sine, cosine), vec2(cosine, sine), (quadrant & 1u) == 0u);
  return turned_by * vec2(
    select(1.0, -1.0, quadrant == 1u || quadrant == 2u),
    select(1.0, -1.0, quadrant >= 2u) * select(1.0, -1.0, angle < 0.0),
  );
}
