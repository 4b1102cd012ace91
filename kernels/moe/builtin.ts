/**
 * Registers the backends that come with Mixline.
 *
 * @module
 */

import { autoBackend } from "./auto.ts";
import { registerMoeBackend } from "./backend.ts";
import { referenceBackend } from "./reference.ts";
import { tritonBackend } from "./triton.ts";
import { trtllmBackend } from "./trtllm.ts";

const BUILTIN = [autoBackend, tritonBackend, trtllmBackend, referenceBackend] as const;

/** Their names: the start-up self-test covers them, and types know them. */
export const BUILTIN_BACKENDS: ReadonlySet<string> = new Set(BUILTIN.map(({ name }) => name));

for (const backend of BUILTIN) registerMoeBackend(backend);
