/**
 * The web page in a real browser, in front of an engine that follows scripts. Run by
 * `tests/server/page_test.ts` in a process of its own: the browser's client reads parts of the system
 * that Deno opens to `--allow-all` alone.
 *
 * @module
 */

import assert from "node:assert/strict";
import { openPage } from "./open_page.ts";
import { serveScripted } from "../support/server.ts";

Deno.test({
  name: "the page talks, stops, edits, retries and remembers",
  // The browser's client keeps timers of its own.
  sanitizeOps: false,
  sanitizeResources: false,
  async fn(t) {
    await using served = await serveScripted();
    await using opened = await openPage(served.url);
    const { page, complaints } = opened;
    const box = page.getByLabel("Message", { exact: true });
    const last = () => page.locator(".message").last();
    const settled = () => page.waitForSelector(".message.assistant:last-child:not(.running)");

    await t.step("says which model it serves", async () => {
      await page.locator("#intro", { hasText: "scripted" }).waitFor();
      assert.match(await page.title(), /^scripted/);
      assert.match(await page.locator("#intro").innerText(), /talking to scripted/);
    });

    await t.step("shows the experts of each layer while their panel is open", async () => {
      await page.getByRole("button", { name: "Experts" }).click();
      const rows = page.locator("#experts li");
      await rows.first().waitFor();
      assert.deepEqual(await rows.allInnerTexts(), [
        "Layer 0: 3 of 4 experts, busiest 0",
        "Layer 1: 4 of 4 experts, busiest 0",
      ]);
      assert.equal(await rows.first().locator("rect").count(), 3);
      await page.getByRole("button", { name: "Settings" }).click();
      assert.equal(await page.locator("#experts").isVisible(), false);
      await page.getByRole("button", { name: "Settings" }).click();
    });

    await t.step("shows an answer as it comes, its thinking folded away", async () => {
      await box.fill("think Hm\nsay Hello\nwait 300\nsay  there <b>you</b>");
      await box.press("Enter");
      await page.locator(".message.running .text", { hasText: /^Hello$/ }).waitFor();
      await settled();
      assert.equal(await last().locator(".text").innerText(), "Hello there <b>you</b>");
      const thinking = last().locator("details.thinking");
      assert.equal(await thinking.getAttribute("open"), null);
      await thinking.locator("summary").click();
      assert.match(await thinking.innerText(), /Hm/);
      assert.match(await last().locator(".facts").innerText(), /3 tokens.*tokens\/s/);
    });

    await t.step("stops with Escape and keeps what came", async () => {
      await box.fill("say begun\nhang");
      await box.press("Enter");
      await page.locator(".message.running .text", { hasText: /^begun$/ }).waitFor();
      await page.keyboard.press("Escape");
      await settled();
      assert.match(await last().locator(".facts").innerText(), /stopped/);
      assert.equal(await last().locator(".text").innerText(), "begun");
    });

    await t.step("retries an answer, and edits a message", async () => {
      const count = await page.locator(".message").count();
      await page.locator(".message.user").last().getByRole("button", { name: "Edit" }).click();
      await page.getByLabel("Edit the message").fill("say edited");
      await page.getByLabel("Edit the message").press("Enter");
      await settled();
      assert.equal(await page.locator(".message").count(), count);
      assert.equal(await last().locator(".text").innerText(), "edited");
      await last().getByRole("button", { name: "Retry" }).click();
      await settled();
      assert.equal(await last().locator(".text").innerText(), "edited");
    });

    await t.step("shows errors of the server", async () => {
      await box.fill("fail 500");
      await box.press("Enter");
      await settled();
      assert.match(await last().locator(".facts").innerText(), /Cannot go on/);
    });

    await t.step("keeps settings, but never the key", async () => {
      await page.getByRole("button", { name: "Settings" }).click();
      await page.getByLabel("Temperature").fill("0.5");
      await page.getByLabel("API key").fill("secret-key");
      const kept = await page.evaluate(() => localStorage.getItem("mixline") ?? "");
      assert.match(kept, /"temperature":"0.5"/);
      assert.ok(!kept.includes("secret-key"));
      await page.reload();
      await page.getByRole("button", { name: "Settings" }).click();
      assert.equal(await page.getByLabel("Temperature").inputValue(), "0.5");
    });

    await t.step("asked nobody else, and broke no rule of its own", () => {
      // The answer with status 500 above is one line of the browser's console.
      assert.deepEqual(complaints.filter((text) => !text.includes("status of 500")), []);
    });
  },
});

Deno.test({
  name: "the page asks for a key, and says when the server does not answer",
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    await using served = await serveScripted({ apiKeys: ["secret-key"] });
    await using opened = await openPage(served.url);
    const { page } = opened;
    const key = page.getByLabel("API key");
    await key.waitFor();
    assert.equal(await page.locator("#model").innerText(), "needs an API key");
    const box = page.getByLabel("Message", { exact: true });
    const facts = () => page.locator(".message.assistant:not(.running) .facts").last().innerText();
    await box.fill("say a");
    await box.press("Enter");
    assert.match(await facts(), /asks for an API key: enter it under Settings/);
    await key.fill("wrong-key");
    await key.press("Enter");
    await page.locator("#model", { hasText: "needs an API key" }).waitFor();
    await key.fill("secret-key");
    await key.press("Enter");
    await page.locator("#model", { hasText: "scripted" }).waitFor();
    await served.server.close();
    await box.fill("say b");
    await box.press("Enter");
    await page.locator(".facts.wrong", { hasText: "The server does not answer" }).waitFor();
  },
});
