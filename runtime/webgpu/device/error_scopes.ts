/**
 * What a device says about single calls. Error scopes are a stack of the whole device: they are opened and
 * closed before anything else can run, whatever becomes of the call.
 *
 * @module
 */

/** What a call gave, and the error that the device has for it. */
export interface Captured<Result> {
  readonly result: Result;
  readonly error?: GPUError;
}

/** Makes a call with scopes for these kinds of errors around it; what the call throws is thrown. */
export function captureErrors<Result>(
  gpu: Pick<GPUDevice, "pushErrorScope" | "popErrorScope">,
  kinds: readonly GPUErrorFilter[],
  call: () => Result,
): Promise<Captured<Result>> {
  kinds.forEach((kind) => gpu.pushErrorScope(kind));
  let made: { readonly result: Result } | { readonly thrown: unknown };
  try {
    made = { result: call() };
  } catch (thrown) {
    made = { thrown };
  }
  return settle(made, kinds.map(() => gpu.popErrorScope()));
}

async function settle<Result>(
  made: { readonly result: Result } | { readonly thrown: unknown },
  scopes: readonly Promise<GPUError | null>[],
): Promise<Captured<Result>> {
  const errors = await Promise.all(scopes);
  if ("thrown" in made) throw made.thrown;
  const error = errors.find((each) => each !== null);
  return { result: made.result, ...(error && { error }) };
}
