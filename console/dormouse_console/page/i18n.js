// Which language the page speaks, and its sentences. All of them are in strings.json, so that a test can compare the
// languages and a translator finds everything in one place.

const KEPT = "dormouse.language";
const table = await (await fetch(new URL("strings.json", import.meta.url))).json();

let language = known(kept()) ?? known(document.documentElement.lang) ?? "en";

export function currentLanguage() {
  return language;
}

/** Remembered for the next visit; the server's choice (Accept-Language) counts until then. */
export function setLanguage(chosen) {
  language = known(chosen) ?? language;
  try {
    localStorage.setItem(KEPT, language);
  } catch {
    // No storage in this browser: it holds for this visit.
  }
  document.documentElement.lang = language;
}

/** The sentence with its `{name}`s filled in; `{n|one|other}` chooses a word by the number n. */
export function t(key, values = {}) {
  const sentence = table[language][key];
  if (sentence === undefined) throw new Error(`no sentence is called ${key}`);
  return sentence.replace(/\{(\w+)(?:\|([^|}]*)\|([^}]*))?\}/g, (whole, name, one, other) => {
    if (one !== undefined) return values[name] === 1 ? one : other;
    return String(values[name] ?? whole);
  });
}

/** Fill what the page's own markup marks: text by data-text, the name of a region by data-label. */
export function translateMarkup() {
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = t(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", t(node.dataset.label));
}

function known(tag) {
  return tag !== null && Object.hasOwn(table, tag) ? tag : null;
}

function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}
