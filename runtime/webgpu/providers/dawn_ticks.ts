/**
 * How often Dawn looks whether something is done. Its library asks the event loop for an immediate as
 * long as a promise of its is open, and makes a native function for each: some hundred thousand a second.
 * That takes the thread from whoever loads weights, and the time to collect these functions grows with
 * nearly the square of their number: 0.4 s for 20,000 of them, 22 s for 220,000. V8 does not collect them with
 * other young objects, so in a large heap they pile up until a program stands still for minutes.
 *
 * So looks are few: the first one comes when waits of late were about over, the next ones the later the
 * more time has passed. And what they leave is collected before it is much.
 *
 * @module
 */

/** Waits that are remembered; the shortest of them says when the first look comes. */
const REMEMBERED = 4;
/** Part of it that passes before, and milliseconds at most, by which a short wait may be seen late. */
const FIRST_SHARE = 0.95;
const MOST_FIRST = 20;
/** Milliseconds between two looks, at first and at most. */
const DELAY = 0.05;
const MOST_DELAY = 1;
/** Part of the time already waited that is waited until the next look, where that is more. */
const SHARE = 1 / 100;
/** Milliseconds from which on a timer waits, which leaves the thread idle. */
const LONG_WAIT = 250;
/** Native functions after which they are collected. */
const MOST_FUNCTIONS = 8192;

type Callback = (...given: unknown[]) => void;
type Immediate = (callback: Callback, ...given: unknown[]) => unknown;

/** What a pacer asks of its surroundings. */
export interface Surroundings {
  readonly immediate: Immediate;
  readonly timer: (callback: () => void, milliseconds: number) => unknown;
  /** Milliseconds. */
  readonly now: () => number;
  /** Collects what nobody refers to. */
  readonly collect: () => void;
}

/** Decides when the library looks again. */
export class TickPacer {
  /** Milliseconds that the last waits took. */
  readonly #waits: number[] = [];
  #begun = 0;
  #isTicking = false;
  #isAskedAgain = false;
  /** Looks of the wait that is going on. */
  #looks = 0;
  #functions = 0;

  constructor(readonly surroundings: Surroundings) {}

  /** What the library calls instead of `setImmediate`. */
  ask(callback: Callback, given: readonly unknown[]): void {
    const { immediate, timer, now } = this.surroundings;
    const asked = now();
    const due = this.#isTicking ? this.#next(asked) : this.#first(asked);
    this.#isAskedAgain = true;
    this.#functions++;
    const tick = () => this.#tick(callback, given);
    if (asked - this.#begun > LONG_WAIT) {
      timer(tick, MOST_DELAY);
      return;
    }
    const look = () => {
      if (now() >= due) tick();
      else immediate(look);
    };
    immediate(look);
  }

  /** Asked for outside of a look: a new wait. */
  #first(now: number): number {
    this.#begun = now;
    this.#looks = 0;
    const shortest = this.#waits.length < REMEMBERED ? 0 : Math.min(...this.#waits);
    return now + Math.max(DELAY, Math.min(MOST_FIRST, FIRST_SHARE * shortest));
  }

  #next(now: number): number {
    return now + Math.min(MOST_DELAY, Math.max(DELAY, SHARE * (now - this.#begun)));
  }

  #tick(callback: Callback, given: readonly unknown[]): void {
    this.#isTicking = true;
    this.#isAskedAgain = false;
    this.#looks++;
    try {
      callback(...given);
    } finally {
      this.#isTicking = false;
    }
    if (!this.#isAskedAgain) this.#remember(this.surroundings.now() - this.#begun);
    if (this.#functions >= MOST_FUNCTIONS) {
      this.#functions = 0;
      this.surroundings.collect();
    }
  }

  #remember(milliseconds: number): void {
    // What the first look finds may have been done for long.
    if (this.#looks === 1) this.#waits.length = 0;
    else this.#waits.push(milliseconds);
    if (this.#waits.length > REMEMBERED) this.#waits.shift();
  }
}

let paced: Promise<void> | undefined;

/** Paces the immediates of native functions from now on; those of JavaScript stay as they are. */
export function paceDawnTicks(): Promise<void> {
  return paced ??= replaceImmediate();
}

async function replaceImmediate(): Promise<void> {
  const immediate: Immediate = Reflect.get(globalThis, "setImmediate");
  const pacer = new TickPacer({
    immediate,
    timer: setTimeout,
    now: () => performance.now(),
    collect: await collector(),
  });
  const pacedImmediate: Immediate = (callback, ...given) =>
    isNative(callback) ? pacer.ask(callback, given) : immediate(callback, ...given);
  // The library looks it up there with every tick.
  Reflect.set(globalThis, "setImmediate", pacedImmediate);
}

/** V8's own collection, which a context has that was made while the flag was set. */
async function collector(): Promise<() => void> {
  const [{ setFlagsFromString }, { runInNewContext }] = await Promise.all([
    import("node:v8"),
    import("node:vm"),
  ]);
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  setFlagsFromString("--no-expose-gc");
  return () => {
    if (typeof collect === "function") collect();
  };
}

function isNative(callback: unknown): boolean {
  return Function.prototype.toString.call(callback).includes("[native code]");
}
