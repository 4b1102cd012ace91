/**
 * Dawn, the WebGPU of Chromium, from npm: it has matrices of subgroups (tensor cores) and a quick
 * awaited readback. Loaded only when asked for.
 *
 * @module
 */

import { DAWN_PACKAGE, loadDawn } from "../../../deps/dawn.ts";
import { DeviceError, messageOf } from "../../../graph/mod.ts";
import { type MatrixShape, standardWgsl } from "../../../kernels/mod.ts";
import { paceDawnTicks } from "./dawn_ticks.ts";
import type { WebGpuProvider } from "./provider.ts";

/** Platforms that the package has a library for, as Deno spells them. */
const PLATFORMS = ["linux-x86_64", "linux-aarch64", "darwin", "windows-x86_64", "windows-aarch64"];

/** Dawn's name of its matrices, which the specification does not have yet. */
const MATRICES = "chromium-experimental-subgroup-matrix" as GPUFeatureName;

/** Matrices count as unsafe until they are specified; timestamps are rounded to 0.1 ms otherwise. */
const OPTIONS = [
  "enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia,use_vulkan_memory_model",
  "disable-dawn-features=timestamp_quantization",
];

/**
 * What `create` gave. Adapters and devices do not keep it alive: when JavaScript no longer refers to
 * it, it is collected, and the process dies with the next call of its devices. So it is kept for as
 * long as the process lives; its threads end with the last device.
 */
const instances = new Map<string, Promise<GPU>>();

/** One of the adapter's configurations, as Dawn lists them. */
interface MatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** What Dawn adds to an adapter's information. */
type DawnAdapterInfo = GPUAdapterInfo & { readonly subgroupMatrixConfigs?: Iterable<MatrixConfig> };

/** The provider `dawn`; `backend` is Dawn's, such as `null`, which compiles and computes nothing. */
export function dawnProvider(backend?: string): WebGpuProvider {
  return {
    name: "dawn",
    label: `Dawn (${DAWN_PACKAGE})`,
    open: () => openInstance(backend),
    // `description` is the driver's version, and `device` the GPU's name or the number of its model.
    describe: ({ description, vendor, device }) =>
      device && !device.startsWith("0x") ? device : description || vendor,
    refuse: () => undefined,
    features: ({ features }) => [
      (["subgroups", MATRICES] as const).filter((feature) => features.has(feature)),
    ],
    matrices: matricesOf,
    shader: standardWgsl,
    translatesOnSubmit: true,
    compilesAside: true,
    allocatesForWrites: true,
    readMode: "awaited",
  };
}

function openInstance(backend: string | undefined): Promise<GPU> {
  const options = backend === undefined ? OPTIONS : [`backend=${backend}`, ...OPTIONS];
  const key = options.join();
  const known = instances.get(key);
  if (known) return known;
  const made = makeInstance(options);
  instances.set(key, made);
  // A permission or a package may be there at the next attempt.
  made.catch(() => instances.delete(key));
  return made;
}

async function makeInstance(options: readonly string[]): Promise<GPU> {
  requirePlatform();
  await requirePermission();
  return await create(options);
}

async function create(options: readonly string[]): Promise<GPU> {
  try {
    const { create } = await loadDawn();
    await paceDawnTicks();
    return create(options);
  } catch (error) {
    throw new DeviceError(
      "device/provider-not-loaded",
      `Cannot load Dawn: expected the library of ${DAWN_PACKAGE} for ${Deno.build.os}-${Deno.build.arch}, got "${
        messageOf(error).split("\n", 1)[0]
      }"`,
      {
        hint:
          `Run "deno cache ${DAWN_PACKAGE}" once with access to npm, or use --webgpu native; docs/providers.md lists what Dawn needs`,
        details: { message: messageOf(error) },
      },
    );
  }
}

function requirePlatform(): void {
  const { os, arch } = Deno.build;
  if (PLATFORMS.includes(os) || PLATFORMS.includes(`${os}-${arch}`)) return;
  throw new DeviceError(
    "device/provider-platform",
    `Cannot load Dawn: expected one of the platforms ${PLATFORMS.join(", ")}, got ${os}-${arch}`,
    { hint: "Use --webgpu native", details: { os, arch } },
  );
}

async function requirePermission(): Promise<void> {
  const { state } = await Deno.permissions.query({ name: "ffi" });
  if (state === "granted") return;
  throw new DeviceError(
    "device/provider-permission",
    "Cannot load Dawn: expected the permission --allow-ffi, as it is a native library, got none",
    {
      hint:
        'Use "deno task deploy:dawn" or "deno task serve:dawn", add --allow-ffi, or use --webgpu native',
    },
  );
}

function matricesOf({ info, features }: GPUAdapter): MatrixShape[] {
  if (!features.has(MATRICES)) return [];
  const { subgroupMatrixConfigs = [] } = info as DawnAdapterInfo;
  return [...subgroupMatrixConfigs]
    .filter((each) => each.componentType === "f16" && each.resultComponentType === "f32")
    .map(({ M, N, K }) => ({ m: M, n: N, k: K }));
}
