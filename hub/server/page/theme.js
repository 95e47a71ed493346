/** Dark or light: as the system has it, until the reader chooses. */

import { setAttribute } from "./dom.js";

const NAME = "hub.theme";

/** Let `button` switch between dark and light. */
export function themeToggle(button, storage) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const show = () => {
    setAttribute(button, "aria-pressed", String(isDark()));
    for (const meta of document.querySelectorAll('meta[name="theme-color"]')) {
      meta.content = getComputedStyle(document.body).backgroundColor;
    }
  };
  button.addEventListener("click", () => {
    const dark = !isDark();
    // The choice that equals the system's is none: it goes on following the system.
    if (dark === system.matches) {
      delete root.dataset.theme;
      storage.remove(NAME);
    } else {
      root.dataset.theme = dark ? "dark" : "light";
      storage.set(NAME, root.dataset.theme);
    }
    show();
  });
  system.addEventListener("change", show);
  show();
}
