/**
 * How a server is set up.
 *
 * @module
 */

import { ConfigError } from "../graph/mod.ts";

/** Options of `serve`. */
export interface ServeOptions {
  /** Port; 0 takes a free one. Default 8000. */
  readonly port?: number;
  /** Address to listen on. Default 127.0.0.1; others than loopback demand keys, or `insecure`. */
  readonly host?: string;
  /** Name of the model in requests and answers. Default the model's own. */
  readonly servedModelName?: string;
  /** A sentence about the model, for `/v1/models` and the page. */
  readonly description?: string;
  /** Keys that clients must show as `Authorization: Bearer <key>`. */
  readonly apiKeys?: readonly string[];
  /** Listen beyond this machine without keys. */
  readonly insecure?: boolean;
  /** Web pages of these origins may call the server; default none. */
  readonly allowedOrigins?: readonly string[];
  /** Requests in flight, running and waiting, before others are refused with 429. Default 256. */
  readonly maxRequests?: number;
  /** Bytes of a request's body. Default 8 MiB. */
  readonly maxBodyBytes?: number;
  /** Bytes of a request's headers. Default 16 KiB. */
  readonly maxHeaderBytes?: number;
  /** Connections at one time. Default 1,024. */
  readonly maxConnections?: number;
  /** Seconds after which a request is ended with an error. Default 600. */
  readonly requestTimeoutSeconds?: number;
  /** Seconds that a client may take to send headers and body. Default 30. */
  readonly receiveTimeoutSeconds?: number;
  /** Seconds that requests in flight get when the server is told to end. Default 30. */
  readonly drainSeconds?: number;
}

/** All options with their defaults. */
export interface ServerSettings
  extends Required<Omit<ServeOptions, "servedModelName" | "description">> {
  readonly servedModelName?: string;
  readonly description?: string;
}

const DEFAULTS = {
  port: 8000,
  host: "127.0.0.1",
  apiKeys: [],
  insecure: false,
  allowedOrigins: [],
  maxRequests: 256,
  maxBodyBytes: 8 << 20,
  maxHeaderBytes: 16 << 10,
  maxConnections: 1024,
  requestTimeoutSeconds: 600,
  receiveTimeoutSeconds: 30,
  drainSeconds: 30,
} satisfies ServerSettings;

/** Least and most of the options that are whole numbers. */
const BOUNDS: Readonly<Record<string, readonly [number, number]>> = {
  port: [0, 65535],
  maxRequests: [1, 1_000_000],
  maxBodyBytes: [1024, 1 << 30],
  maxHeaderBytes: [1024, 1 << 20],
  maxConnections: [1, 1_000_000],
  requestTimeoutSeconds: [1, 2_000_000],
  receiveTimeoutSeconds: [1, 3600],
  drainSeconds: [0, 3600],
};

/**
 * Checks options and fills them.
 *
 * @throws {ConfigError} for a number out of its bounds, and for an address beyond this machine
 *   without keys.
 */
export function serverSettings(options: ServeOptions = {}): ServerSettings {
  const given = Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  );
  const settings: ServerSettings = { ...DEFAULTS, ...given };
  for (const [name, [least, most]] of Object.entries(BOUNDS)) {
    const value: unknown = Reflect.get(settings, name);
    if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) {
      continue;
    }
    throw new ConfigError(
      "serve/invalid-option",
      `Cannot serve with option "${name}": expected a whole number from ${least} to ${most}, got ${value}`,
    );
  }
  checkKeys(settings);
  settings.allowedOrigins.forEach(checkOrigin);
  if (settings.servedModelName === "") {
    throw new ConfigError(
      "serve/invalid-option",
      'Cannot serve with option "servedModelName": expected a name, got an empty text',
    );
  }
  if (isLoopback(settings.host) || settings.apiKeys.length > 0 || settings.insecure) {
    return settings;
  }
  throw new ConfigError(
    "serve/no-key",
    `Cannot serve on address "${settings.host}": expected an API key, got none`,
    {
      hint:
        "Give one with --api-key, --api-key-file or MIXLINE_API_KEY, or say --insecure to let " +
        "everyone who reaches this address use the model",
    },
  );
}

/** Whether an address is reached from this machine alone. */
export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[(.*)\]$/, "$1").toLowerCase();
  return bare === "localhost" || bare === "::1" || /^127(\.\d{1,3}){3}$/.test(bare);
}

/** Browsers send an origin in one form; any other text would match none of them. */
function checkOrigin(origin: string): void {
  if (origin === "*" || (URL.canParse(origin) && new URL(origin).origin === origin)) return;
  throw new ConfigError(
    "serve/invalid-origin",
    `Cannot let pages of "${origin}" call: expected an origin such as https://app.example or http://localhost:3000, or *, got another text`,
    { hint: "Give scheme, host and port as browsers show them, without a path" },
  );
}

function checkKeys({ apiKeys }: ServerSettings): void {
  for (const [index, key] of apiKeys.entries()) {
    if (/^[\x21-\x7e]{8,}$/.test(key)) continue;
    // The key itself is a secret, so the message tells its length alone.
    throw new ConfigError(
      "serve/invalid-key",
      `Cannot serve with API key ${
        index + 1
      }: expected at least 8 visible ASCII characters, got ${key.length} characters`,
      { hint: "Make one with: openssl rand -hex 24" },
    );
  }
}

/** Whether the server at a URL is reached from this machine alone. */
export function isLoopbackUrl(url: string): boolean {
  return isLoopback(new URL(url).hostname);
}
