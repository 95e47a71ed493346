/** The API key of this hub: kept for the tab, or for the browser when the reader says so. */

import { SafeStorage } from "./storage.js";

const NAME = "hub.key";

export class KeyStore {
  #tab = new SafeStorage("sessionStorage");
  #browser = new SafeStorage("localStorage");

  /** The key, or null. */
  get() {
    return this.#tab.get(NAME) ?? this.#browser.get(NAME);
  }

  /** Keep `key`; with `remember` it outlives the tab. */
  set(key, { remember }) {
    this.forget();
    (remember ? this.#browser : this.#tab).set(NAME, key);
  }

  forget() {
    this.#tab.remove(NAME);
    this.#browser.remove(NAME);
  }
}
