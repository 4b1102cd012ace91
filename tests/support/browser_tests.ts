/**
 * Tests in Debian's Chromium, where that is installed. Each file runs in a process of its own: the
 * browser's client reads parts of the system that Deno opens to `--allow-all` alone.
 *
 * @module
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { IS_QUICK } from "./quick.ts";

/** Where Debian, and others, have it. */
const PATHS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

const found = await Promise.all(
  PATHS.map((path) => Deno.stat(path).then(() => path, () => undefined)),
);
const browser = found.find((path) => path !== undefined);
const reason = IS_QUICK ? "--quick" : browser ? undefined : "chromium is not installed";

/** A test that runs a file of `tests/browser`; left out, and counted, without a browser. */
export function browserTest(name: string, file: string): void {
  Deno.test({
    name: `${name}${reason ? ` [left out: ${reason}]` : ""}`,
    ignore: reason !== undefined,
    async fn() {
      const cases = fileURLToPath(new URL(`../browser/${file}`, import.meta.url));
      const lock = fileURLToPath(new URL("../../deno.lock", import.meta.url));
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["test", "--quiet", "--no-check", "--allow-all", `--lock=${lock}`, cases],
        env: { NO_COLOR: "1", MIXLINE_TEST_BROWSER: browser ?? "" },
      }).output();
      const text = new TextDecoder();
      assert.equal(code, 0, `${text.decode(stdout)}${text.decode(stderr)}`);
    },
  });
}
