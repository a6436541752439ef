// Who the page asks as. Without a token it says how to get one; a token is tried before it is kept.

import { forgetToken, get, useToken } from "./api.js";
import { el, setText } from "./dom.js";
import { t } from "./i18n.js";
import { whyNot } from "./refusals.js";

const region = document.getElementById("sign-in");

export function hideSignIn() {
  region.hidden = true;
  region.replaceChildren();
}

/** signedIn: called with the session once a token was taken. `because`: why an earlier one was not. */
export function showSignIn(because, signedIn) {
  const input = el("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: "" });
  const problem = el("p", { id: "token-problem", class: "problem", role: "alert" }, because);
  input.setAttribute("aria-describedby", "token-problem");
  const form = el(
    "form",
    { class: "sign-in" },
    el("label", { for: "token" }, t("tokenLabel")),
    input,
    el("button", { type: "submit", class: "primary" }, t("tokenUse")),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    useToken(input.value);
    try {
      const session = await get("api/session");
      hideSignIn();
      signedIn(session);
    } catch (error) {
      forgetToken();
      setText(problem, whyNot(error));
      input.select();
    }
  });
  region.replaceChildren(
    el("h2", { id: "sign-in-heading" }, t("signInHeading")),
    el("p", {}, t("signInWhy")),
    form,
    problem,
    el("p", { class: "soft" }, t("signInAccount")),
    el("pre", {}, "kubectl create token NAME -n NAMESPACE --duration 8h"),
    el("p", { class: "soft" }, t("signInOwn")),
    el("pre", {}, "kubectl config view --raw --minify -o jsonpath='{.users[0].user.token}'"),
    el("p", { class: "soft" }, t("signInKept")),
  );
  region.hidden = false;
  input.focus();
}
