/**
 * A profile of a data centre GPU, for tests of choices that need no device.
 *
 * @module
 */

import type { DeviceProfile } from "../../kernels/kernel.ts";

/** What Deno says of an H100. */
export const GPU_PROFILE: DeviceProfile = {
  vendor: "nvidia",
  architecture: "hopper",
  description: "NVIDIA H100 80GB HBM3",
  key: "NVIDIA_H100_80GB_HBM3",
  software: false,
  subgroups: true,
  subgroupSize: 32,
  shaderF16: true,
  timestamps: true,
  maxWorkgroupStorageBytes: 49152,
  maxInvocations: 1024,
  maxWorkgroupsPerDimension: 65535,
  maxBindingBytes: 2147483644,
  maxBufferBytes: 4292870144,
  maxStorageBuffers: 32,
};
