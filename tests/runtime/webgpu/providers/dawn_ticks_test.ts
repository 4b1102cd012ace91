import assert from "node:assert/strict";
import { TickPacer } from "../../../../runtime/webgpu/providers/dawn_ticks.ts";

/** A library that asks for looks as Dawn's does, on a clock of its own. */
class FakeLibrary {
  now = 0;
  looks = 0;
  collections = 0;
  readonly #queue: { readonly at: number; readonly callback: () => void }[] = [];
  readonly #pacer = new TickPacer({
    immediate: (callback) => this.#queue.push({ at: this.now + 0.001, callback }),
    timer: (callback, milliseconds) => this.#queue.push({ at: this.now + milliseconds, callback }),
    now: () => this.now,
    collect: () => this.collections++,
  });

  /** Waits for something that is done after `milliseconds`; gives how long it took to be seen. */
  wait(milliseconds: number): number {
    const begun = this.now;
    let seen: number | undefined;
    const look = () => {
      this.looks++;
      if (this.now - begun >= milliseconds) seen = this.now - begun;
      else this.#pacer.ask(look, []);
    };
    this.#pacer.ask(look, []);
    while (seen === undefined) {
      this.#queue.sort((a, b) => a.at - b.at);
      const next = this.#queue.shift();
      assert.ok(next);
      this.now = Math.max(this.now, next.at);
      next.callback();
    }
    return seen;
  }
}

Deno.test("a wait like those before takes few looks, and is seen within some hundredths of its time", () => {
  const library = new FakeLibrary();
  for (let i = 0; i < 4; i++) assert.ok(library.wait(12) < 12.2);
  const before = library.looks;
  for (let i = 0; i < 100; i++) assert.ok(library.wait(12 + i % 3 / 10) < 12.5);
  assert.ok(library.looks - before < 1000, `${library.looks - before} looks`);
});

Deno.test("a short wait behind long ones is seen once, and the next ones at once", () => {
  const library = new FakeLibrary();
  for (let i = 0; i < 4; i++) library.wait(40);
  assert.ok(library.wait(1) < 21);
  for (let i = 0; i < 5; i++) assert.ok(library.wait(1) < 1.2);
});

Deno.test("a wait of seconds looks about once a millisecond", () => {
  const library = new FakeLibrary();
  assert.ok(library.wait(5000) < 5002);
  assert.ok(library.looks < 6500, `${library.looks} looks`);
});

Deno.test("functions of the library are collected before they are many", () => {
  const library = new FakeLibrary();
  for (let i = 0; i < 60; i++) library.wait(500);
  assert.ok(library.collections >= 2, `${library.collections} collections`);
});
