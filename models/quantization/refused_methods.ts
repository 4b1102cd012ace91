/**
 * Quantization methods that are known and not read, with what to do instead.
 *
 * @module
 */

const UNQUANTIZED = "take the unquantized model and add quantize_moe";

/** By `quant_method`: what it is, and what to do. */
export const REFUSED_METHODS: Readonly<Record<string, string>> = {
  bitsandbytes: `bitsandbytes stores NF4 or LLM.int8 blocks: ${UNQUANTIZED}`,
  aqlm: `AQLM stores codebooks: ${UNQUANTIZED}`,
  bitnet: `BitNet stores ternary weights: ${UNQUANTIZED}`,
  eetq: `EETQ stores int8 in the layout of a CUDA kernel: ${UNQUANTIZED}`,
  exl2: `EXL2 mixes bit widths within a matrix: ${UNQUANTIZED}, or take a GPTQ export`,
  exl3: `EXL3 stores trellis codes: ${UNQUANTIZED}, or take a GPTQ export`,
  fbgemm_fp8: "Export it as compressed-tensors FP8 by channel, which holds the same numbers",
  fp_quant: `FP-Quant rotates weights: ${UNQUANTIZED}`,
  gguf: "Give the .gguf file itself as the model",
  higgs: `HIGGS stores codebooks: ${UNQUANTIZED}`,
  hqq: `HQQ stores its own packing: ${UNQUANTIZED}, or export it as GPTQ`,
  marlin: "Marlin is the layout of a CUDA kernel: take the GPTQ checkpoint that it was made from",
  mlx: `MLX's packing is not read: ${UNQUANTIZED}`,
  quanto: `Quanto stores its own packing: ${UNQUANTIZED}`,
  quark: "Export it from AMD Quark in the form of compressed-tensors, or as FP8",
  quip: `QuIP# stores codebooks: ${UNQUANTIZED}`,
  spqr: `SpQR stores sparse outliers: ${UNQUANTIZED}`,
  torchao: `TorchAO stores pickled tensor classes: ${UNQUANTIZED}`,
  vptq: `VPTQ stores codebooks: ${UNQUANTIZED}`,
};
