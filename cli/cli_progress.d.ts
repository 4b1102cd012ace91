/** The part of `cli-progress` that is used; the package has no types of its own. */
export interface Options {
  readonly format: string;
  readonly stream?: unknown;
  readonly hideCursor?: boolean;
  readonly clearOnComplete?: boolean;
  readonly barsize?: number;
  readonly fps?: number;
}

export interface Preset {
  readonly barCompleteChar: string;
  readonly barIncompleteChar: string;
  readonly format: string;
}

declare class SingleBar {
  constructor(options: Options, preset: Preset);
  start(total: number, value: number, payload?: Readonly<Record<string, string>>): void;
  update(value: number, payload?: Readonly<Record<string, string>>): void;
  stop(): void;
}

declare const cliProgress: {
  SingleBar: typeof SingleBar;
  Presets: Readonly<Record<"legacy" | "rect" | "shades_classic" | "shades_grey", Preset>>;
};

export type { SingleBar };
export default cliProgress;
