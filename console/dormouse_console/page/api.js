// What the page asks of the console. The token is kept for this tab only (sessionStorage) and travels as a header, never
// in an address and never as a cookie, so no other site can make the browser send it.

const base = new URL(".", document.baseURI);
const KEPT = `dormouse.console.token:${base.pathname}`;

let token = fromAddress() ?? kept();

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
  try {
    sessionStorage.setItem(KEPT, token);
  } catch {
    // No storage in this browser: it holds until the page is left.
  }
}

export function forgetToken() {
  useToken("");
}

export function get(path, parameters = {}) {
  return send("GET", path, parameters);
}

export function change(namespace, name, order) {
  return send("POST", `${modelPath(namespace, name)}/change`, {}, order);
}

export function modelPath(namespace, name) {
  return `api/models/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
}

async function send(method, path, parameters, body) {
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(parameters)) if (value !== null) url.searchParams.set(name, value);
  const headers = {};
  if (token !== "") headers["Authorization"] = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(url, { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
  } catch {
    throw new Refusal(0, null);
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok || answer === null) throw new Refusal(response.status, answer);
  return answer;
}

/** A local console prints an address with its key behind the #, which no server and no log ever sees. */
function fromAddress() {
  const found = /^#key=([\w.~-]+)$/.exec(location.hash);
  if (found === null) return null;
  history.replaceState(null, "", "#/");
  try {
    sessionStorage.setItem(KEPT, found[1]);
  } catch {
    // As above.
  }
  return found[1];
}

function kept() {
  try {
    return sessionStorage.getItem(KEPT) ?? "";
  } catch {
    return "";
  }
}
