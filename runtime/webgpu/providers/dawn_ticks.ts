/**
 * How often Dawn looks whether something is done. Its library asks the event loop for an immediate as
 * long as a promise of its is open, and makes a native function for each: some hundred thousand a second.
 * That takes the thread from whoever loads weights, and what collects these functions later stops the
 * program for seconds (20 s were seen on an H100). So native immediates wait a little, the longer the
 * more time has passed since the promise was made.
 *
 * @module
 */

/** Milliseconds between two looks: at first, as long as a burst of tokens takes, and at most. */
const DELAY = 0.05;
const MOST_DELAY = 1;
/** Part of the time already waited that is waited until the next look, where that is more. */
const SHARE = 1 / 400;
/** Milliseconds from which on a timer waits, which leaves the thread idle. */
const LONG_WAIT = 250;

type Immediate = (callback: (...given: unknown[]) => void, ...given: unknown[]) => unknown;

let isPaced = false;

/** Paces the immediates of native functions from now on; those of JavaScript stay as they are. */
export function paceDawnTicks(): void {
  if (isPaced) return;
  isPaced = true;
  const immediate: Immediate = Reflect.get(globalThis, "setImmediate");
  let begun = 0;
  let isTicking = false;
  const paced: Immediate = (callback, ...given) => {
    if (!isNative(callback)) return immediate(callback, ...given);
    const now = performance.now();
    // Asked for outside of a tick: a new promise.
    if (!isTicking) begun = now;
    const tick = () => {
      isTicking = true;
      try {
        callback(...given);
      } finally {
        isTicking = false;
      }
    };
    if (now - begun > LONG_WAIT) return setTimeout(tick, MOST_DELAY);
    const due = now + Math.min(MOST_DELAY, Math.max(DELAY, (now - begun) * SHARE));
    const look = () => {
      if (performance.now() >= due) tick();
      else immediate(look);
    };
    return immediate(look);
  };
  // The library looks it up there with every tick.
  Reflect.set(globalThis, "setImmediate", paced);
}

function isNative(callback: unknown): boolean {
  return Function.prototype.toString.call(callback).includes("[native code]");
}
