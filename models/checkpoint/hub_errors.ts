/**
 * Why a model of the hub cannot be had.
 *
 * @module
 */

import { HubApiError } from "../../deps/hub.ts";
import { CheckpointError, messageOf, permissionHint, RequestError } from "../../graph/mod.ts";

/** Codes of calls about files that fail: no room, no permission, no folder. */
const FILE_CODES = ["ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "ENOENT", "ENOTDIR"];

/** A file that the hub should have. */
export function missingFile(id: string, name: string): CheckpointError {
  return new CheckpointError(
    "checkpoint/missing-file",
    `Cannot download "${name}" of model "${id}": expected it on the hub, got none`,
    { hint: "Choose a model with safetensors weights", details: { model: id, file: name } },
  );
}

/** A download that its signal ended. */
export function stopped(id: string, cause: unknown): RequestError {
  return new RequestError(
    "request/aborted",
    `Cannot download model "${id}": expected all of it, got a request to stop`,
    { status: 499, hint: "Start it again: it goes on where it stopped", cause },
  );
}

/** What went wrong with a model, or with one file of it: access, the connection, or the disk. */
export function hubError(id: string, cause: unknown, file?: string): CheckpointError {
  const what = file === undefined ? `model "${id}"` : `"${file}" of model "${id}"`;
  const details = { model: id, ...(file !== undefined && { file }) };
  if (isOfFiles(cause) && permissionHint(cause) === undefined) {
    return cacheError(what, cause, details);
  }
  if (!(cause instanceof HubApiError)) {
    return new CheckpointError(
      "checkpoint/offline",
      `Cannot download ${what}: expected an answer of the hub, got: ${messageOf(cause)}`,
      {
        hint: permissionHint(cause) ??
          "Check the connection, or give the path of a folder that holds the model",
        cause,
        details,
      },
    );
  }
  const { statusCode } = cause;
  if (statusCode === 401 || statusCode === 403) {
    return new CheckpointError(
      "checkpoint/hub-refused",
      `Cannot download ${what}: expected access to it, got status ${statusCode}`,
      {
        hint: "Check the name; for a gated model accept its terms on the hub and set HF_TOKEN",
        cause,
        details,
      },
    );
  }
  return new CheckpointError(
    statusCode === 404 ? "checkpoint/hub-missing" : "checkpoint/download",
    `Cannot download ${what}: expected the hub to have it, got status ${statusCode}`,
    { hint: "Check the name and the revision", cause, details },
  );
}

function isOfFiles(cause: unknown): cause is Error {
  return cause instanceof Error && "code" in cause && FILE_CODES.includes(String(cause.code));
}

/** The cache takes nothing: a full disk, or a folder that may not be written. */
function cacheError(
  what: string,
  cause: Error,
  details: Readonly<Record<string, unknown>>,
): CheckpointError {
  const isFull = "code" in cause && ["ENOSPC", "EDQUOT"].includes(String(cause.code));
  return new CheckpointError(
    "checkpoint/cache",
    `Cannot keep ${what}: expected ${
      isFull ? "room on the disk of the hub's cache" : "a cache of the hub that may be written"
    }, got: ${messageOf(cause)}`,
    {
      hint: isFull
        ? "Free space and start again, which goes on where it stopped, or set HF_HOME to a folder elsewhere"
        : "Set HF_HOME to a folder that may be written",
      cause,
      details: { ...details },
    },
  );
}
