// Which language the page speaks, and its sentences. The server gives all of them as strings.json: those that both pages
// say, and the page's own.

import { keep, kept } from "./storage.js";

const KEPT = "dormouse.language";
const table = await (await fetch(new URL("strings.json", import.meta.url))).json();

let language = known(kept("localStorage", KEPT)) ?? known(document.documentElement.lang) ?? "en";

export function currentLanguage() {
  return language;
}

/** Remembered for the next visit; the server's choice (Accept-Language) counts until then. */
export function setLanguage(chosen) {
  language = known(chosen) ?? language;
  keep("localStorage", KEPT, language);
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

/** What a word that travels is called, as in `word("trigger", "Idle")`; the word itself when there is no name for it. */
export function word(family, name, values = {}) {
  if (name === null || name === undefined) return "–";
  const said = String(name);
  const key = `${family}${said.charAt(0).toUpperCase()}${said.slice(1)}`;
  return Object.hasOwn(table[language], key) ? t(key, values) : said;
}

/** Each language's tag with its own name. */
export function languages() {
  return Object.entries(table).map(([tag, sentences]) => [tag, sentences["languageName"]]);
}

/** Fill what the page's own markup marks: text by data-text, the name of a region by data-label. */
export function translateMarkup() {
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = t(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", t(node.dataset.label));
}

function known(tag) {
  return Object.hasOwn(table, tag) ? tag : null;
}
