import assert from "node:assert/strict";
import { nativeProvider } from "../../../../runtime/webgpu/providers/native.ts";

Deno.test("native says what Dawn would bring on GPUs that surely have tensor cores, and is silent else", () => {
  const hint = (description: string) => nativeProvider.hint?.(description);
  for (
    const gpu of [
      "NVIDIA H100 80GB HBM3",
      "NVIDIA GeForce RTX 4090",
      "NVIDIA L4",
      "NVIDIA A100-SXM4-40GB",
    ]
  ) {
    assert.match(hint(gpu) ?? "", /--webgpu dawn with --set operands=auto/, gpu);
  }
  for (
    const gpu of [
      "NVIDIA GeForce GTX 1080",
      "llvmpipe (LLVM 15.0.6, 256 bits)",
      "AMD Radeon RX 580",
      "",
    ]
  ) {
    assert.equal(hint(gpu), undefined, gpu);
  }
});
