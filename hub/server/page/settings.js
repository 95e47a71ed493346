/** What the reader chooses for the next question: model, temperature, length. */

import { h } from "./dom.js";

const NAME = "hub.settings";

export class Settings {
  #ui;
  #storage;
  #onChange;

  /**
   * @param ui Elements: `form`, `modelSlot`, `temperature`, `maxTokens`.
   * @param onChange Called after a choice, and once the models are known.
   */
  constructor(ui, storage, onChange) {
    this.#ui = ui;
    this.#storage = storage;
    this.#onChange = onChange;
    const saved = storage.get(NAME) ?? {};
    ui.temperature.value = saved.temperature ?? "";
    ui.maxTokens.value = saved.max_tokens ?? "";
    ui.form.addEventListener("change", () => this.#save());
    ui.form.addEventListener("submit", (event) => {
      event.preventDefault();
      ui.form.closest("[popover]").hidePopover();
    });
    this.#fill({ model: null, models: null });
  }

  /** Offer these models to choose from; without a list, any name may be written. */
  offer({ model, models }) {
    this.#fill({ model, models });
    this.#onChange();
  }

  #fill({ model, models }) {
    const chosen = this.#storage.get(NAME)?.model ?? "";
    const field = models?.length ? select(models, model, chosen) : input(model, chosen);
    field.id = "setting-model";
    this.#ui.modelSlot.replaceChildren(field);
  }

  /** The fields of a request; what was left open is left to the hub. */
  request() {
    const { model, temperature, max_tokens } = this.#read();
    return {
      ...(model && { model }),
      ...(temperature !== null && { temperature }),
      ...(max_tokens !== null && { max_tokens }),
    };
  }

  #read() {
    return {
      model: this.#ui.modelSlot.firstElementChild.value.trim(),
      temperature: numberOf(this.#ui.temperature),
      max_tokens: numberOf(this.#ui.maxTokens),
    };
  }

  #save() {
    this.#storage.set(NAME, this.#read());
    this.#onChange();
  }
}

function select(models, model, chosen) {
  // An empty choice is the hub's default, whichever that is by then.
  const others = models.filter((name) => name !== model);
  const field = h("select", {}, h("option", { value: "" }, model ?? "The hub’s default"));
  field.append(...others.map((name) => h("option", { value: name }, name)));
  // A model that the hub no longer offers falls back to its default.
  field.value = others.includes(chosen) ? chosen : "";
  return field;
}

function input(model, chosen) {
  const placeholder = model ?? "the hub’s default";
  const field = h("input", { type: "text", placeholder, spellcheck: "false", autocomplete: "off" });
  field.value = chosen;
  return field;
}

function numberOf(input) {
  return input.value !== "" && input.validity.valid ? input.valueAsNumber : null;
}
