/**
 * The names that WGSL itself gives: keywords, types, address spaces and built-in functions
 * (https://www.w3.org/TR/WGSL/, chapters 3.7, 6, 13 and 17). `step` is left out: shaders here use
 * it for the buffer that holds a step's sizes.
 *
 * @module
 */

const KEYWORDS = `
  alias break case const const_assert continue continuing default diagnostic discard else enable
  false fn for if let loop override requires return struct switch true var while`;

const TYPES = `
  array atomic bool f16 f32 i32 u32 mat2x2 mat2x3 mat2x4 mat3x2 mat3x3 mat3x4 mat4x2 mat4x3 mat4x4
  ptr vec2 vec3 vec4 vec2f vec3f vec4f vec2h vec3h vec4h vec2i vec3i vec4i vec2u vec3u vec4u`;

const SPACES = `
  function private workgroup uniform storage handle read write read_write subgroups`;

const FUNCTIONS = `
  abs acos acosh all any arrayLength asin asinh atan atan2 atanh atomicAdd atomicAnd
  atomicCompareExchangeWeak atomicExchange atomicLoad atomicMax atomicMin atomicOr atomicStore
  atomicSub atomicXor bitcast ceil clamp cos cosh countLeadingZeros countOneBits countTrailingZeros
  cross degrees determinant distance dot dot4I8Packed dot4U8Packed exp exp2 extractBits faceForward
  firstLeadingBit firstTrailingBit floor fma fract frexp insertBits inverseSqrt ldexp length log
  log2 max min mix modf normalize pack2x16float pack2x16snorm pack2x16unorm pack4x8snorm
  pack4x8unorm pack4xI8 pack4xI8Clamp pack4xU8 pack4xU8Clamp pow quantizeToF16 radians reflect
  refract reverseBits round saturate select sign sin sinh smoothstep sqrt storageBarrier
  subgroupAdd subgroupAll subgroupAnd subgroupAny subgroupBallot subgroupBroadcast
  subgroupBroadcastFirst subgroupElect subgroupExclusiveAdd subgroupExclusiveMul
  subgroupInclusiveAdd subgroupInclusiveMul subgroupMax subgroupMin subgroupMul subgroupOr
  subgroupShuffle subgroupShuffleDown subgroupShuffleUp subgroupShuffleXor subgroupXor tan tanh
  textureBarrier transpose trunc unpack2x16float unpack2x16snorm unpack2x16unorm unpack4x8snorm
  unpack4x8unorm unpack4xI8 unpack4xU8 workgroupBarrier workgroupUniformLoad`;

/** Dawn's matrices of subgroups, which the specification does not have yet. */
const MATRICES = `
  subgroup_matrix_left subgroup_matrix_right subgroup_matrix_result subgroupMatrixLoad
  subgroupMatrixStore subgroupMatrixMultiplyAccumulate row_major col_major`;

/** Every name that a shader may use without anything giving it. */
export const WGSL_WORDS: ReadonlySet<string> = new Set(
  [KEYWORDS, TYPES, SPACES, FUNCTIONS, MATRICES].join(" ").split(/\s+/).filter(Boolean),
);
