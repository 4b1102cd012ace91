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

for (const backend of [autoBackend, tritonBackend, trtllmBackend, referenceBackend]) {
  registerMoeBackend(backend);
}
