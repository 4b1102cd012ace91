/**
 * Copies of the bundled model with something wrong, in the tests' temporary folder.
 *
 * @module
 */

const MODEL = new URL("../../demo/storyteller/", import.meta.url);

/** The bundled model's folder. */
export const STORYTELLER = MODEL.pathname.replace(/\/$/, "");

/** What a copy changes: a new content, or `null` for a file that is left out. */
export type FileChanges = Readonly<Record<string, string | Uint8Array | null>>;

/** Makes a folder with the bundled model's files, links but for those that change. */
export async function makeModelFolder(root: string, changes: FileChanges): Promise<string> {
  const folder = await Deno.makeTempDir({ dir: root });
  for await (const { name, isFile } of Deno.readDir(MODEL)) {
    if (isFile && !(name in changes)) {
      await Deno.symlink(new URL(name, MODEL).pathname, `${folder}/${name}`);
    }
  }
  for (const [name, content] of Object.entries(changes)) {
    if (typeof content === "string") await Deno.writeTextFile(`${folder}/${name}`, content);
    else if (content !== null) await Deno.writeFile(`${folder}/${name}`, content);
  }
  return folder;
}

/** The text of `config.json` after a change of its fields. */
export async function changedConfig(
  change: (config: Record<string, unknown>) => void,
): Promise<string> {
  const config = JSON.parse(await Deno.readTextFile(new URL("config.json", MODEL)));
  change(config);
  return JSON.stringify(config, null, 2);
}

/** The safetensors file cut off after this many bytes. */
export async function truncatedWeights(bytes: number): Promise<Uint8Array> {
  return (await Deno.readFile(new URL("model.safetensors", MODEL))).subarray(0, bytes);
}

/** The safetensors file with another shape in its header; the data stay where they are. */
export async function reshapedWeights(
  tensor: string,
  shape: readonly number[],
): Promise<Uint8Array> {
  const bytes = await Deno.readFile(new URL("model.safetensors", MODEL));
  const headerBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes)));
  header[tensor].shape = shape;
  const text = JSON.stringify(header);
  if (text.length > headerBytes) throw new Error(`The new header of ${tensor} is too long`);
  bytes.set(new TextEncoder().encode(text.padEnd(headerBytes)), 8);
  return bytes;
}

/** The safetensors file with further tensors, of one number each, that no architecture knows. */
export async function weightsWith(names: readonly string[]): Promise<Uint8Array> {
  const bytes = await Deno.readFile(new URL("model.safetensors", MODEL));
  const headerBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes)));
  const data = bytes.subarray(8 + headerBytes);
  for (const [i, name] of names.entries()) {
    const begin = data.length + 4 * i;
    header[name] = { dtype: "F32", shape: [1], data_offsets: [begin, begin + 4] };
  }
  const text = JSON.stringify(header);
  const padded = text.padEnd(Math.ceil(text.length / 8) * 8);
  const made = new Uint8Array(8 + padded.length + data.length + 4 * names.length);
  new DataView(made.buffer).setBigUint64(0, BigInt(padded.length), true);
  made.set(new TextEncoder().encode(padded), 8);
  made.set(data, 8 + padded.length);
  return made;
}
