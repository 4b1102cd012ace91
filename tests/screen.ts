/**
 * What a person sees of processes that run beside each other.
 *
 * @module
 */

/** A process: what is not shown of it yet, and whether that is all. */
interface Place {
  text: string;
  ended: boolean;
}

/** Shows the output of processes that run beside each other, one after another. */
export class Screen {
  /** The first is on the screen. */
  readonly #places: Place[] = [];

  constructor(readonly write: (text: string) => void) {}

  /** Puts a process behind those that run. */
  begin(): Place {
    const place = { text: "", ended: false };
    this.#places.push(place);
    return place;
  }

  print(place: Place, text: string): void {
    place.text += text;
    this.#show();
  }

  end(place: Place): void {
    place.ended = true;
    this.#show();
  }

  #show(): void {
    for (let first = this.#places[0]; first; first = this.#places[0]) {
      this.write(first.text);
      first.text = "";
      if (!first.ended) return;
      this.#places.shift();
    }
  }
}
