// The choice of language in the page's header.

import { el } from "./dom.js";
import { currentLanguage, languages, setLanguage, translateMarkup } from "./i18n.js";

const region = document.getElementById("languages");
const buttons = languages().map(([tag, name]) => el("button", { type: "button", lang: tag, "data-language": tag }, name));
region.append(...buttons);

/** Say the markup in the language of the page. */
export function showLanguage() {
  translateMarkup();
  for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.language === currentLanguage()));
}

/** changed(): called when another was chosen, once the markup says it. */
export function onLanguage(changed) {
  for (const button of buttons) {
    button.addEventListener("click", () => {
      setLanguage(button.dataset.language);
      showLanguage();
      changed();
    });
  }
}
