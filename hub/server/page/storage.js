/** Browser storage that never throws: where it is missing or full, writes say so and the page goes on. */

/** A `Storage` behind three methods; `area` is "localStorage" or "sessionStorage". */
export class SafeStorage {
  #area;
  #memory = new Map();

  constructor(area) {
    try {
      // Reading the property itself throws where cookies are blocked.
      this.#area = window[area];
    } catch {
      this.#area = null;
    }
  }

  /** The value kept under `key`, parsed; null where there is none or it isn't JSON. */
  get(key) {
    try {
      const text = this.#memory.get(key) ?? this.#area?.getItem(key);
      return text === undefined ? null : JSON.parse(text);
    } catch {
      return null;
    }
  }

  /** Keep `value` under `key`. False when it lives only as long as this page. */
  set(key, value) {
    const text = JSON.stringify(value);
    try {
      this.#area.setItem(key, text);
      this.#memory.delete(key);
      return true;
    } catch {
      this.#memory.set(key, text);
      return false;
    }
  }

  remove(key) {
    this.#memory.delete(key);
    try {
      this.#area.removeItem(key);
    } catch {
      // Nothing was kept, so nothing is left to remove.
    }
  }

  /** Every key that begins with `prefix`. */
  keys(prefix) {
    try {
      return Object.keys(this.#area).filter((key) => key.startsWith(prefix));
    } catch {
      return [];
    }
  }
}
