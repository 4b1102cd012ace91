/**
 * The page of a deployment in a real browser, from its file. Run by `tests/dsl/report/page_test.ts` in a
 * process of its own.
 *
 * @module
 */

import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { pipeline } from "../../dsl/pipeline.ts";
import { STORYTELLER } from "../support/model_folder.ts";
import { openPage } from "./open_page.ts";

const PHONE = { width: 390, height: 844 };

Deno.test({
  name: "the page moves and scales its pictures, and fits a phone in the dark",
  // The browser's client keeps timers of its own.
  sanitizeOps: false,
  sanitizeResources: false,
  async fn(t) {
    const folder = await Deno.makeTempDir();
    const engine = await pipeline()
      .visualizeNamespace({ enabled: true, folder, formats: ["html"] })
      .deploy({ model: STORYTELLER, executor: "cpu" });
    await engine.close();
    const url = pathToFileURL(`${folder}/storyteller.html`).href;
    try {
      await using opened = await openPage(url);
      const { page, complaints } = opened;
      const picture = page.locator(".block[open] .picture");
      const svg = picture.locator("> svg");
      const view = async () => (await svg.getAttribute("viewBox") ?? "").split(" ").map(Number);

      await t.step("one block is open, and its picture is at its own size", async () => {
        assert.equal(await picture.count(), 1);
        const box = await svg.boundingBox();
        assert.equal(Math.round(box?.width ?? 0), Math.round((await view())[2]));
      });
      await t.step("keys scale and show all", async () => {
        const [, , before] = await view();
        await picture.focus();
        await page.keyboard.press("+");
        const [, , larger] = await view();
        assert.ok(larger < before);
        await page.keyboard.press("ArrowDown");
        assert.ok((await view())[1] > 0);
        await page.keyboard.press("0");
        assert.ok((await view())[2] > larger);
      });
      await t.step("buttons do the same", async () => {
        const [, , before] = await view();
        await picture.getByRole("button", { name: "Larger" }).click();
        assert.ok((await view())[2] < before);
      });
      await t.step("another block can be opened by keyboard", async () => {
        await page.locator("details.block > summary").first().focus();
        await page.keyboard.press("Enter");
        const opened = page.locator(".block[open] .picture > svg").first();
        assert.ok((await opened.boundingBox())?.height);
        const [x] = (await opened.getAttribute("viewBox") ?? "").split(" ").map(Number);
        assert.ok(Number.isFinite(x));
      });
      assert.deepEqual(complaints, []);

      await t.step("fits a phone, in the dark", async () => {
        await using phone = await openPage(url, { ...PHONE, dark: true });
        const width = await phone.page.evaluate("document.documentElement.scrollWidth");
        assert.equal(width, PHONE.width);
        assert.deepEqual(phone.complaints, []);
      });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
