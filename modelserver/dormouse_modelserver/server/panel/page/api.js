// What the page asks of the server. The token is kept for this tab only.

import { ask, basePath } from "./request.js";
import { keep, kept } from "./storage.js";

const KEPT = `dormouse.token:${basePath}`;

let token = kept("sessionStorage", KEPT);

export function hasToken() {
  return token !== "";
}

export function forgetToken() {
  token = "";
  keep("sessionStorage", KEPT, "");
}

/** Ask the server whether the token is its own, and keep it only then. */
export async function useToken(given) {
  const answer = await send("GET", "v1/authority", undefined, given);
  if (answer.ok) {
    token = given;
    keep("sessionStorage", KEPT, given);
  }
  return answer;
}

export function orderResidency(model, desired) {
  return send("PUT", `v1/models/${encodeURIComponent(model)}/residency`, { desired, reason: "by hand on the page" });
}

export function orderPin(model, pinned) {
  return send("PUT", `v1/models/${encodeURIComponent(model)}/pin`, { pinned });
}

/** Count a use that was forgotten no longer. */
export function endUse(model, number) {
  return send("DELETE", `v1/models/${encodeURIComponent(model)}/uses/${number}`);
}

/** JSON of a GET; raises when there is no good answer. */
export async function get(path) {
  const { ok, status, body } = await ask("GET", path);
  if (!ok || body === null) throw new Error(`${path}: HTTP ${status}`);
  return body;
}

/** `{ok, status, problem}`: status 0 without an answer, problem is the problem+json or null. */
async function send(method, path, order, bearer = token) {
  const { ok, status, body } = await ask(method, path, { token: bearer, body: order });
  return { ok, status, problem: ok ? null : body };
}
