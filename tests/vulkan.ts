/**
 * A software GPU for machines without one: finds out whether WebGPU has an adapter here, and where
 * none is found installs Debian's `mesa-vulkan-drivers`, after asking.
 *
 * @module
 */

import { fileURLToPath } from "node:url";

const PACKAGE = "mesa-vulkan-drivers";

/** Where Mesa keeps compiled shaders; git ignores it. */
const SHADER_CACHE = fileURLToPath(new URL("../.mixline/shader_cache", import.meta.url));

/** What a person does where the driver cannot be installed for them. */
export const INSTALL_HINT = `sudo apt-get install ${PACKAGE}`;

/** How WebGPU stands on this machine. */
export interface VulkanState {
  /** Description of the adapter, or undefined where there is none. */
  readonly adapter?: string;
  /** One line for people. */
  readonly message: string;
}

/** Environment of every process that uses WebGPU: Vulkan alone on Linux, no probing of OpenGL. */
export function gpuEnvironment(): Record<string, string> {
  if (Deno.build.os !== "linux") return {};
  return {
    DENO_WEBGPU_BACKEND: Deno.env.get("DENO_WEBGPU_BACKEND") ?? "vulkan",
    // Mesa's window-system code complains on stderr where this is unset.
    XDG_RUNTIME_DIR: Deno.env.get("XDG_RUNTIME_DIR") ?? "/nonexistent",
    MESA_SHADER_CACHE_DIR: Deno.env.get("MESA_SHADER_CACHE_DIR") ?? SHADER_CACHE,
    // Mesa's software GPU takes longer to optimize a shader than tests gain; the same in all
    // processes, as the cache keeps what is optimized apart.
    GALLIVM_PERF: Deno.env.get("GALLIVM_PERF") ?? "nopt",
  };
}

/**
 * Makes the folder in which Mesa keeps compiled shaders. Compiling them is most of what the tests take
 * on a software adapter, so they are kept in the project, whatever becomes of the user's own cache.
 */
export function makeShaderCache(): void {
  if (Deno.build.os === "linux" && !Deno.env.has("MESA_SHADER_CACHE_DIR")) {
    Deno.mkdirSync(SHADER_CACHE, { recursive: true });
  }
}

/** Finds an adapter, installing a software one where there is none and the user agrees. */
export async function ensureVulkan(): Promise<VulkanState> {
  const found = await findAdapter();
  if (found !== undefined) return { adapter: found, message: `WebGPU adapter: ${found}` };
  const refusal = await installDriver();
  if (refusal !== undefined) return { message: `No WebGPU adapter, and ${refusal}` };
  const installed = await findAdapter();
  return installed === undefined
    ? { message: `No WebGPU adapter, although ${PACKAGE} is installed` }
    : { adapter: installed, message: `WebGPU adapter: ${installed} (${PACKAGE} installed now)` };
}

/** Asks in a process of its own, as one that has asked before does not see a new driver. */
async function findAdapter(): Promise<string | undefined> {
  const script = `
    const adapter = await navigator.gpu?.requestAdapter();
    console.log(adapter ? adapter.info.description || adapter.info.vendor || "unnamed" : "");
  `;
  const { code, stdout } = await run([Deno.execPath(), "eval", script], "piped");
  const description = new TextDecoder().decode(stdout).trim();
  return code === 0 && description !== "" ? description : undefined;
}

/** Installs the driver if it may; gives the reason where it does not. */
async function installDriver(): Promise<string | undefined> {
  if (Deno.build.os !== "linux") return "there is no software one for this system";
  if (!await isCommand("apt-get")) return "there is no apt-get to install one with";
  const prefix = Deno.uid() === 0 ? [] : await sudo();
  if (prefix === undefined) return `installing one needs a password; run ${INSTALL_HINT}`;
  const install = [...prefix, "apt-get", "install", "-y", "--no-install-recommends", PACKAGE];
  const answer = mayInstall(install.join(" "));
  if (answer !== undefined) return answer;
  if ((await run(install, "null")).code === 0) return undefined;
  // A fresh container has no package lists.
  await run([...prefix, "apt-get", "update", "-qq"], "null");
  const { code, stderr } = await run(install, "piped");
  if (code === 0) return undefined;
  return `apt-get failed (${new TextDecoder().decode(stderr).trim().split("\n").at(-1)})`;
}

/** Asks before anything is installed; CI has agreed beforehand. Gives the reason for a no. */
function mayInstall(command: string): string | undefined {
  const what =
    `No WebGPU adapter. A software one comes with Debian's ${PACKAGE} (40 MB): ${command}`;
  if (Deno.env.get("CI")) {
    console.log(what);
    return undefined;
  }
  if (!Deno.stdin.isTerminal()) {
    return `there is nobody to ask; run "${command}", set CI=1 to have it run, or test without a device: --quick`;
  }
  return confirm(`${what}\nRun it?`) ? undefined : "its installation was declined";
}

/** The prefix that makes a command root's without asking, or undefined. */
async function sudo(): Promise<string[] | undefined> {
  if (!await isCommand("sudo")) return undefined;
  const { code } = await run(["sudo", "-n", "true"], "null");
  return code === 0 ? ["sudo", "-n"] : undefined;
}

async function isCommand(name: string): Promise<boolean> {
  for (const folder of (Deno.env.get("PATH") ?? "").split(":")) {
    const found = await Deno.stat(`${folder}/${name}`).catch(() => undefined);
    if (found?.isFile) return true;
  }
  return false;
}

async function run(command: readonly string[], output: "piped" | "null") {
  const [program, ...args] = command;
  const result = await new Deno.Command(program, {
    args,
    stdin: "null",
    stdout: output,
    stderr: output,
    env: { ...gpuEnvironment(), DEBIAN_FRONTEND: "noninteractive", NO_COLOR: "1" },
  }).output();
  return {
    code: result.code,
    stdout: output === "piped" ? result.stdout : new Uint8Array(),
    stderr: output === "piped" ? result.stderr : new Uint8Array(),
  };
}
