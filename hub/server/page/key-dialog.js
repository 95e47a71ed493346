/** Asks for the hub's key, once for all the calls that wait for it. */

import { ApiError } from "./api.js";
import { setText } from "./dom.js";

export class KeyDialog {
  #ui;
  #keys;
  #accepts;
  #asking = null;

  /**
   * @param ui Elements: `dialog`, `form`, `input`, `remember`, `error`, `cancel`.
   * @param keys The `KeyStore` that an accepted key goes into.
   * @param accepts Whether the hub accepts a key: `async (key) => boolean`.
   */
  constructor(ui, keys, accepts) {
    this.#ui = ui;
    this.#keys = keys;
    this.#accepts = accepts;
    ui.cancel.addEventListener("click", () => ui.dialog.close());
    ui.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#try(ui.input.value.trim());
    });
    ui.input.addEventListener("input", () => this.#complain(""));
  }

  /** Resolves to true once a key is in the store; false when the reader declines. */
  ask(refused) {
    this.#asking ??= new Promise((resolve) => {
      const { dialog, input } = this.#ui;
      input.value = "";
      this.#complain(refused ? "The key this browser had is not accepted any more." : "");
      dialog.returnValue = "";
      dialog.addEventListener(
        "close",
        () => {
          this.#asking = null;
          resolve(dialog.returnValue === "accepted");
        },
        { once: true },
      );
      dialog.showModal();
      input.focus();
    });
    return this.#asking;
  }

  async #try(key) {
    const { dialog, input, remember, submit } = this.#ui;
    if (!key) return;
    submit.disabled = true;
    try {
      if (await this.#accepts(key)) {
        this.#keys.set(key, { remember: remember.checked });
        input.value = "";
        dialog.close("accepted");
      } else {
        this.#complain("The hub did not accept this key.");
        input.select();
      }
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#complain(error.message);
    } finally {
      submit.disabled = false;
    }
  }

  #complain(sentence) {
    setText(this.#ui.error, sentence);
    this.#ui.error.hidden = sentence === "";
    this.#ui.input.setAttribute("aria-invalid", String(sentence !== ""));
  }
}
