// What the page asks of the server. Relative to the document, so that it works below any prefix and any proxy.
// The token is kept for this tab only (sessionStorage) and travels as a header, never in an address.

const base = new URL(".", document.baseURI);
const KEPT = `dormouse.token:${base.pathname}`;

let token = read();

export function urlOf(path) {
  return new URL(path, base);
}

export function hasToken() {
  return token !== "";
}

export function forgetToken() {
  token = "";
  sessionStorage.removeItem(KEPT);
}

/** Ask the server whether the token is its own, and keep it only then. */
export async function useToken(given) {
  const answer = await send("GET", "v1/authority", undefined, given);
  if (answer.ok) {
    token = given;
    sessionStorage.setItem(KEPT, given);
  }
  return answer;
}

export function orderResidency(model, desired) {
  return send("PUT", `v1/models/${encodeURIComponent(model)}/residency`, { desired, reason: "by hand on the page" });
}

export function orderPin(model, pinned) {
  return send("PUT", `v1/models/${encodeURIComponent(model)}/pin`, { pinned });
}

/** JSON of a GET; raises when there is no good answer. */
export async function get(path) {
  const response = await fetch(urlOf(path), { cache: "no-store" });
  if (!response.ok) throw new Error(`${path}: HTTP ${response.status}`);
  return response.json();
}

/** `{ok, status, problem}`: status 0 without an answer, problem is the problem+json or null. */
async function send(method, path, body, bearer = token) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (bearer !== "") headers["Authorization"] = `Bearer ${bearer}`;
  try {
    const response = await fetch(urlOf(path), { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
    const problem = response.ok ? null : await response.json().catch(() => null);
    return { ok: response.ok, status: response.status, problem };
  } catch {
    return { ok: false, status: 0, problem: null };
  }
}

function read() {
  try {
    return sessionStorage.getItem(KEPT) ?? "";
  } catch {
    return "";
  }
}
