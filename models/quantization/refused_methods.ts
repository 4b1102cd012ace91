/**
 * Quantization methods that are known and not read, with what to do instead.
 *
 * @module
 */

const UNQUANTIZED = "Take the unquantized model and add quantize_moe";

/** By `quant_method`: what it is, and what to do. */
export const REFUSED_METHODS: Readonly<Record<string, string>> = {
  bitsandbytes: `${UNQUANTIZED}: bitsandbytes stores NF4 or LLM.int8 blocks`,
  aqlm: `${UNQUANTIZED}: AQLM stores codebooks`,
  bitnet: `${UNQUANTIZED}: BitNet stores ternary weights`,
  eetq: `${UNQUANTIZED}: EETQ stores int8 in the layout of a CUDA kernel`,
  exl2: `${UNQUANTIZED}, or take a GPTQ export: EXL2 mixes bit widths within a matrix`,
  exl3: `${UNQUANTIZED}, or take a GPTQ export: EXL3 stores trellis codes`,
  fbgemm_fp8: "Export it as compressed-tensors FP8 by channel, which holds the same numbers",
  fp_quant: `${UNQUANTIZED}: FP-Quant rotates weights`,
  gguf: "Give the .gguf file itself as the model",
  higgs: `${UNQUANTIZED}: HIGGS stores codebooks`,
  hqq: `${UNQUANTIZED}, or export it as GPTQ: HQQ stores its own packing`,
  marlin: "Take the GPTQ checkpoint behind it: Marlin is the layout of a CUDA kernel",
  mlx: `${UNQUANTIZED}: MLX's packing is not read`,
  quanto: `${UNQUANTIZED}: Quanto stores its own packing`,
  quark: "Export it from AMD Quark in the form of compressed-tensors, or as FP8",
  quip: `${UNQUANTIZED}: QuIP# stores codebooks`,
  spqr: `${UNQUANTIZED}: SpQR stores sparse outliers`,
  torchao: `${UNQUANTIZED}: TorchAO stores pickled tensor classes`,
  vptq: `${UNQUANTIZED}: VPTQ stores codebooks`,
};
