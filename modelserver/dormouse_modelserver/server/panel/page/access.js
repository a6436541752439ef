// Says who may change state here. Read-only is said with its reason, and where a token is needed there is a field.

import { forgetToken, hasToken, useToken } from "./api.js";
import { el, setText, show } from "./dom.js";
import { t } from "./i18n.js";
import { whyNot } from "./refusals.js";

const region = document.getElementById("access");
let shownFor = "";

export function readOnly(access) {
  return access === "nobody" || access === "operator";
}

/** Whether the buttons would be refused for want of a token. */
export function lacksToken(access) {
  return access === "token" && !hasToken();
}

export function askForToken() {
  region.querySelector("input")?.focus();
}

/** changed: called when the page may do more or less than before. */
export function showAccess(access, language, changed) {
  const now = [access, language, hasToken()].join();
  if (now === shownFor) return;
  shownFor = now;
  show(region, access !== "open");
  region.replaceChildren(...content(access, changed));
}

function content(access, changed) {
  switch (access) {
    case "nobody":
      return [el("p", {}, t("readOnlyNobody"))];
    case "operator":
      return [el("p", {}, t("readOnlyOperator"))];
    case "token":
      return hasToken() ? kept(changed) : field(changed);
    default:
      return [];
  }
}

function kept(changed) {
  const forget = el("button", { type: "button", id: "forget-token" }, t("tokenForget"));
  forget.addEventListener("click", () => {
    forgetToken();
    changed();
    askForToken();
  });
  return [el("p", {}, t("tokenKept")), forget];
}

function field(changed) {
  const input = el("input", { id: "token", type: "password", autocomplete: "off", required: "" });
  const problem = el("p", { class: "problem", id: "token-problem", role: "alert" });
  const label = el("label", { for: "token" }, t("tokenLabel"));
  const form = el("form", {}, label, input, el("button", { type: "submit" }, t("tokenUse")), problem);
  input.setAttribute("aria-describedby", "token-problem");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const answer = await useToken(input.value);
    if (answer.ok) {
      changed();
      document.getElementById("forget-token")?.focus();
      return;
    }
    setText(problem, whyNot(answer));
    input.select();
  });
  return [el("p", {}, t("tokenNeeded")), form];
}
