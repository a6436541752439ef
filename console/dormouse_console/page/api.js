// What the page asks of the console. The token is kept for this tab only.

import { ask, basePath } from "./request.js";
import { keep, kept } from "./storage.js";

const KEPT = `dormouse.console.token:${basePath}`;

let token = fromAddress() ?? kept("sessionStorage", KEPT);

/** What the console or the API server refused: `status` 0 without an answer, `problem` the problem+json or null. */
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? `HTTP ${status}`);
    [this.status, this.problem] = [status, problem];
  }
}

export function hasToken() {
  return token !== "";
}

export function useToken(given) {
  token = given.trim();
  keep("sessionStorage", KEPT, token);
}

export function forgetToken() {
  useToken("");
}

export function get(path, parameters = {}) {
  return send("GET", path, { parameters });
}

export function change(namespace, name, order) {
  return send("POST", `${modelPath(namespace, name)}/change`, { body: order });
}

export function modelPath(namespace, name) {
  return `api/models/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
}

async function send(method, path, more) {
  const { ok, status, body } = await ask(method, path, { token, ...more });
  if (!ok || body === null) throw new Refusal(status, body);
  return body;
}

/** A local console prints an address with its key behind the #, which no server and no log ever sees. */
function fromAddress() {
  const found = /^#key=([\w.~-]+)$/.exec(location.hash);
  if (found === null) return null;
  history.replaceState(null, "", "#/");
  keep("sessionStorage", KEPT, found[1]);
  return found[1];
}
