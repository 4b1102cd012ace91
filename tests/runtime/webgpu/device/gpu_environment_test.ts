import assert from "node:assert/strict";
import { isUnwantedOpenGl } from "../../../../runtime/webgpu/device/gpu_environment.ts";
import { slowTest } from "../../../support/quick.ts";

const SCRIPT = `
  import { openDevice } from "./runtime/mod.ts";
  const environment = () => JSON.stringify(Object.entries(Deno.env.toObject()).sort());
  const before = environment();
  const result = await openDevice().then(
    (device) => ({ opened: device.profile.description }),
    ({ code, message }) => ({ code, message }),
  );
  const isKept = before === environment();
  console.log(JSON.stringify({ ...result, isKept }));
  Deno.exit(0);
`;

/** Opens the device in a process with this environment alone. */
async function openIn(env: Record<string, string>): Promise<Record<string, unknown>> {
  const { HOME = "", PATH = "", DENO_DIR } = Deno.env.toObject();
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-check", SCRIPT],
    cwd: new URL("../../../../", import.meta.url),
    clearEnv: true,
    env: { HOME, PATH, ...(DENO_DIR && { DENO_DIR }), ...env },
  }).output();
  const text = new TextDecoder().decode(stdout);
  assert.notEqual(text, "", new TextDecoder().decode(stderr));
  return JSON.parse(text);
}

Deno.test({
  name: "openDevice() refuses OpenGL where Vulkan has no driver, and leaves the environment alone",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const noDriver = { VK_DRIVER_FILES: "/nonexistent", VK_ICD_FILENAMES: "/nonexistent" };
    const refused = await openIn(noDriver);
    assert.equal(refused.code, "device/no-adapter");
    assert.match(String(refused.message), /expected a WebGPU adapter( of Vulkan)?, got /);
    assert.equal(refused.isKept, true);
  },
});

slowTest("openDevice() leaves the environment alone when it finds a device, too", async () => {
  assert.equal((await openIn({})).isKept, true);
});

Deno.test("isUnwantedOpenGl() tells OpenGL from Vulkan by the limits that wgpu gives", () => {
  const adapter = (maxBindingsPerBindGroup: number, maxBufferSize: number) => ({
    limits: { maxBindingsPerBindGroup, maxBufferSize } as GPUSupportedLimits,
  });
  const env = Deno.env.get("DENO_WEBGPU_BACKEND");
  Deno.env.delete("DENO_WEBGPU_BACKEND");
  try {
    const openGl = adapter(4294967295, 2147483647);
    const nvidia = adapter(4294967295, 4292870144);
    const mesa = adapter(1024, 2147483647);
    assert.deepEqual([openGl, nvidia, mesa].map(isUnwantedOpenGl), [true, false, false]);
  } finally {
    if (env !== undefined) Deno.env.set("DENO_WEBGPU_BACKEND", env);
  }
});
